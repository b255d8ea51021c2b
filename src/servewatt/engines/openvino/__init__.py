"""Engine openvino: OpenVINO's runtime over graphs exported and quantised here."""
