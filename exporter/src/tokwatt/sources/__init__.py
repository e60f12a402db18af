"""All I/O with inference servers (`tokens/`) and meters (`power/`), one file each; vendor oddities end here."""
