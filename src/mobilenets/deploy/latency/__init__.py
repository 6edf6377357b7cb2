"""What a network takes in a runtime on this machine: measured in its exported file, and predicted from that."""
