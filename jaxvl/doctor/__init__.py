"""What can go wrong on a machine or a pod, tried in a minute before a run is paid for."""
