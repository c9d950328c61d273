"""What more than one script of this repository needs: arguments, sequences, data, masking, training, metrics, figures."""
