"""What readers are shown: the scoreboard, and how each figure came to be. Reads published marts only."""
