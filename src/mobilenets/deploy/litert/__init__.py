"""What goes into a .tflite file and beside it: operators, metadata, the Android class that runs it."""
