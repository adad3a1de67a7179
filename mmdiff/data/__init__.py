"""What the data sets of all modalities share: folders of files, splits and downloads."""
