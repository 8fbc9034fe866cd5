//! How the API server is reached: a kubeconfig, or what every pod is given.
