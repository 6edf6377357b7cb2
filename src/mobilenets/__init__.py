"""MobileNet V1-V4: from a folder of images and a device budget to a model checked in the very file that ships."""

__version__ = "0.1.0"
