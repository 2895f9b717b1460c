"""Where the harness meets wires: DICOM, MLLP, ONNX Runtime, Airflow."""
