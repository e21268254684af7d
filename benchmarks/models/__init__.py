"""What each model of the nightly build costs."""
