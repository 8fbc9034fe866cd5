//! Answers to whoever asks us.
