"""Pictures and point files for people to look at."""
