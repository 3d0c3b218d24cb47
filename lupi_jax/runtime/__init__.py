"""What a process needs around the method: other processes, the device, the terminal."""
