"""The paper's data pipeline (appendix D, figure 7): a picture gets a caption, its objects names, boxes and masks."""
