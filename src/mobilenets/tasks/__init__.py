"""What a network is trained for: head, loss, decoding and metric of each task in one file."""
