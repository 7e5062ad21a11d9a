"""From the features of one folder to each metric's value, interval and floor."""
