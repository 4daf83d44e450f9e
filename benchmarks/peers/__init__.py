"""This gateway beside other disks in object stores, over one emulated store, row by row."""
