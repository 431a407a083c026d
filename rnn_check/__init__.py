"""rnn_check proves, number by number, that a recurrent layer computes the recurrence it claims."""
