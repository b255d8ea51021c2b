"""What a model folder holds, read without any tensor library, for those who describe models and those who run them."""
