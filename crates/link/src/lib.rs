//! Conversations with other processes of ours.
