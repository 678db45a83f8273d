"""The process and its file system: files, folders, signals, several processes, devices, the command line."""
