"""A model in onnxruntime: loaded from the bytes whose digest was verified, held to its contract."""

from __future__ import annotations

import hashlib
from typing import cast

import numpy as np
import onnxruntime

from shadow.domain.errors import ModelContractError
from shadow.index_test.model import ModelContract
from shadow.index_test.pixels import Floats

INTRA_OP_THREADS = 1
_CPU = "CPUExecutionProvider"
_FLOAT = "tensor(float)"


class OnnxSession:
    """One loaded model. Scores are deterministic on one machine and build of onnxruntime.

    Args:
        contract: of the model.
        intra_op_threads: threads of one run; the lanes are the parallelism.

    Raises:
        ModelContractError: the file is not the one verified, cannot be loaded, or its input or score output
            has another name, type or shape than the contract gives.
    """

    def __init__(self, contract: ModelContract, intra_op_threads: int = INTRA_OP_THREADS) -> None:
        content = contract.onnx_file.read_bytes()
        if hashlib.sha256(content).hexdigest() != contract.sha256:
            raise ModelContractError(f"{contract.identifier}: the ONNX file changed since it was verified")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=[_CPU])
        except Exception as error:
            raise ModelContractError(
                f"{contract.identifier}: onnxruntime cannot load it: {type(error).__name__}"
            ) from error
        self._input = contract.input.name
        self._score = contract.output.score
        self._check(contract)

    def run(self, batch: Floats) -> Floats:
        """One score a slice.

        Args:
            batch: float32 (items, channels, rows, columns), what the contract's kind of input says.

        Returns:
            float32 (slices,).

        Raises:
            ModelContractError: the model gave another number of scores than it got slices.
        """
        (scores,) = self._session.run([self._score], {self._input: np.ascontiguousarray(batch)})
        flat = np.asarray(scores, dtype=np.float32).reshape(-1)
        if flat.shape[0] != batch.shape[0]:
            raise ModelContractError(f"{flat.shape[0]} scores for {batch.shape[0]} slices")
        return cast("Floats", flat)

    def _check(self, contract: ModelContract) -> None:
        inputs = {one.name: one for one in self._session.get_inputs()}
        outputs = {one.name: one for one in self._session.get_outputs()}
        expected = [None, contract.input.channels, contract.input.rows, contract.input.columns]
        if set(inputs) != {self._input}:
            raise ModelContractError(f"{contract.identifier}: input.name: the file's inputs are {sorted(inputs)}")
        found = inputs[self._input]
        if found.type != _FLOAT or not _fits(found.shape, expected):
            raise ModelContractError(
                f"{contract.identifier}: input: the file takes {found.type} {found.shape}, "
                f"the contract gives slices of {expected[1:]}"
            )
        if self._score not in outputs:
            raise ModelContractError(f"{contract.identifier}: output.score: the file's outputs are {sorted(outputs)}")
        if outputs[self._score].type != _FLOAT:
            raise ModelContractError(
                f"{contract.identifier}: output.score: must be float, is {outputs[self._score].type}"
            )


def _fits(shape: list[int | str | None], expected: list[int | None]) -> bool:
    """Whether the file's shape takes the contract's: a free dimension takes any size, the batch must be free."""
    if len(shape) != len(expected) or isinstance(shape[0], int):
        return False
    return all(not isinstance(own, int) or own == wanted for own, wanted in zip(shape[1:], expected[1:], strict=True))
