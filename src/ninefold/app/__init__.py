"""The command `ninefold`: reading the command line, calling the rooms below, printing."""
