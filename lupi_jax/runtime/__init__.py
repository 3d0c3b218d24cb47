"""The surroundings of a command: other processes, devices, files and the terminal."""
