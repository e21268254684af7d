"""Protection of small counts: which cells are shown, and what an attacker could compute from those that are."""
