"""The commands of the command line, one file each; `dicomweb.cli` lists them."""
