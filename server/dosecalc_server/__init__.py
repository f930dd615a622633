"""The gRPC service: takes studies, runs dose computations as jobs, keeps and gives their results."""
