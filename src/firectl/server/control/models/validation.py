"""Can an uploaded model be served: are its files complete and valid? If so, validation makes the model READY.

`firectl.lora` decides whether an adapter is valid and fits its base. This module stores the result, and the
safetensors copy of an adapter's `.bin`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firectl.errors import AdapterError, ApiError, Code, InputError, failed_precondition
from firectl.lora.check.check import check
from firectl.lora.check.rules import is_allowed_target
from firectl.lora.check.values import CHANGES_NOTHING
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.bin_file import SafetensorsCopy
from firectl.lora.read.findings import raise_for
from firectl.lora.read.hashing import FileHash, combined, content_hash, stamp
from firectl.schemas.base import Status
from firectl.schemas.model import BaseModelDetails, PeftDetails
from firectl.schemas.words import BF16, FP16, ModelKind, ModelState, Reason
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.models import models
from firectl.server.disk.bin_copy import COPY, enter_copy, write_copy
from firectl.server.disk.files import FileStore
from firectl.server.platform import Platform
from firectl.server.store.rows import FileRow, ModelRow

_MISSING_SHOWN = 10
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PRECISION_OF = {"BF16": BF16, "F16": FP16}
"""Maps a dtype of safetensors to the name of the precision in the API."""
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CONTEXT_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Checked:
    """The result of a validation. `fields` are the model's fields that its files determine (None: unknown)."""

    fields: Mapping[str, object]
    warnings: list[str]
    weights: SafetensorsCopy | None = None
    """A safetensors copy of an adapter's `.bin`. It is stored beside the `.bin`, so that no server reads the `.bin`."""


def validate(platform: Platform, caller: Caller, name: str) -> list[str]:
    """Check the files, make the model READY and return the warnings. Does nothing for a READY model.

    FAILED_PRECONDITION while files or the base are missing. INVALID_ARGUMENT, with the place, the problem and what to
    do, for files that cannot be served. The code of NotInspected for a `.bin` that could not be read.
    """
    with platform.locks.hold(name):
        with platform.store.read() as tx:
            row = access.model(tx, caller, name)
            files = tx.files.of_model(name)
            base = tx.models.get(row.base) if row.base else None
        if row.state == ModelState.READY:
            return []
        store = FileStore(platform.paths)
        _require_complete(store, row, files)
        try:
            checked = _addon(store, row, base) if row.kind == ModelKind.ADDON else _base(store, row)
            # Record the stamps before the files are hashed, so that a later change is noticed.
            stamps = {file.filename: stamp(store.path(row.folder, file.filename)) for file in files}
            digest = content_hash(store.path(row.folder), [file.filename for file in files])
            if checked.weights is not None:
                write_copy(checked.weights.path, store.path(row.folder))
        except InputError as error:
            raise ApiError(error.code, error.message, hint=error.hint, details=error.details) from error
        except FileNotFoundError as error:
            raise _changed(name) from error
        with platform.store.begin() as tx:
            now = access.model(tx, caller, name)
            if now.folder != row.folder or tx.files.of_model(name) != files:
                raise _changed(name)
            if digest != combined({file.filename: FileHash(file.size, file.sha256 or "") for file in files}):
                raise ApiError(
                    Code.DATA_LOSS,
                    f"the files of model {name} on the platform's disk are not what was uploaded",
                    hint=f"firectl model delete {name} --yes",
                    http_status=409,
                )
            at = platform.clock()
            tx.models.update(
                name,
                # The current resource: its texts may have been edited during the validation.
                resource=now.resource.model_copy(update={k: v for k, v in checked.fields.items() if v is not None}),
                state=ModelState.READY,
                content_hash=digest,
                update_time=at,
                stamps=stamps,
                check_time=at,
            )
            if checked.weights is not None:
                tx.models.update(name, stamps={**stamps, COPY: enter_copy(store.path(row.folder))})
        store.close_uploads(row.folder)
        return checked.warnings


def _changed(name: str) -> ApiError:
    return ApiError(Code.ABORTED, f"files of model {name} changed while they were being validated")


def _require_complete(store: FileStore, row: ModelRow, files: list[FileRow]) -> None:
    upload = f"firectl model upload {row.name.rsplit('/', 1)[1]} DIR"
    if not files:
        raise failed_precondition(f"model {row.name} has no files yet", hint=upload)
    missing = [file.filename for file in files if not file.complete]
    if missing:
        shown = ", ".join(missing[:_MISSING_SHOWN]) + (", …" if len(missing) > _MISSING_SHOWN else "")
        # If the caller has sent all its files, an upload in progress means that another client's upload replaced them.
        arriving = any(store.is_arriving(row.folder, name) for name in missing)
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"{len(missing)} of {len(files)} files of model {row.name} are missing: {shown}"
            + ("; an upload of them is in progress" if arriving else ""),
            hint=upload,
            reason=Reason.UPLOAD_SUPERSEDED if arriving else None,
        )


def _addon(store: FileStore, row: ModelRow, base: ModelRow | None) -> Checked:
    if base is None or base.kind != ModelKind.BASE:
        raise models.no_base(row, f"is of kind {base.kind}, not a base" if base else "is not on this platform")
    models.require_ready(base)
    base_model = BaseModel.open(store.path(base.folder))
    report = check(store.path(row.folder), base_model, deep=True)
    raise_for(report.findings)
    details = PeftDetails(
        base_model=row.base,
        r=report.facts["r"],
        target_modules=list(report.facts["target_modules"]),
        base_model_type=base_model.model_type,
        merge_addon_model_name=row.resource.peft_details.merge_addon_model_name if row.resource.peft_details else None,
    )
    # Also stored in the model's status, because it explains why a deployment of the addon answers like the base.
    nothing = next((finding.what for finding in report.warnings if finding.what.endswith(CHANGES_NOTHING)), None)
    fields = {
        "peft_details": details,
        "context_length": _context_length(base_model.config),
        "status": None if nothing is None else Status.of(None, nothing),
    }
    warnings = [finding.sentence for finding in report.warnings]
    return Checked(fields, warnings, report.adapter.copy if report.adapter is not None else None)


def _base(store: FileStore, row: ModelRow) -> Checked:
    folder = store.path(row.folder)
    base = BaseModel.open(folder)
    if base.quantization is not None:
        raise AdapterError(
            f"config.json: the weights are quantized ({base.quantization}); expected bfloat16, float16 or float32",
            hint="upload the model in bfloat16 or float16",
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise AdapterError(
            f"the tokenizer is missing: expected one of {', '.join(_TOKENIZERS)}",
            hint="save it beside the weights with tokenizer.save_pretrained()",
        )
    warnings = []
    if not _has_chat_template(store, row):
        warnings.append("tokenizer_config.json: no chat template, so chat completions are refused; completions work")
    parameters = Counter[str]()
    for info in base.tensors.values():
        parameters[info.dtype] += info.numel
    [(dtype, _)] = parameters.most_common(1) or [("", 0)]
    config = base.config
    before = row.resource.base_model_details or BaseModelDetails()
    details = before.model_copy(
        update={
            "checkpoint_format": "HUGGINGFACE",
            "model_type": base.model_type,
            "parameter_count": str(parameters.total()),
            # None for float32, which has no name on the wire.
            "default_precision": _PRECISION_OF.get(dtype),
            "moe": any(isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERT_COUNTS),
            "world_size": 1,
            "tunable": False,
        }
    )
    supports_lora = any(is_allowed_target(module) for module in base.modules)
    return Checked(
        {
            "base_model_details": details,
            "context_length": _context_length(config),
            "supports_lora": supports_lora,
        },
        warnings,
    )


def _has_chat_template(store: FileStore, row: ModelRow) -> bool:
    if any(store.path(row.folder, name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = store.path(row.folder, "tokenizer_config.json")
    return config.is_file() and b'"chat_template"' in config.read_bytes()


def _context_length(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    for source in (config, text if isinstance(text, dict) else {}):
        for key in _CONTEXT_LENGTHS:
            value = source.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
