"""Is an uploaded model what it says, whole and fit to serve? The last step of an upload, which makes it READY.

What an adapter is and whether it fits its base is known by `firectl.lora`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firectl.errors import AdapterError, ApiError, Code, InputError
from firectl.lora.check.check import check, raise_for_errors
from firectl.lora.check.rules import is_allowed_target
from firectl.lora.check.values import CHANGES_NOTHING
from firectl.lora.read.adapter import SAFETENSORS
from firectl.lora.read.base_model import BaseModel
from firectl.lora.read.bin_file import NotInspected, SafetensorsCopy
from firectl.lora.read.hashing import FileHash, combined, content_hash, stamp
from firectl.schemas.base import Status
from firectl.schemas.model import BaseModelDetails, Model, PeftDetails
from firectl.schemas.words import ModelKind, ModelState, Reason
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.models import models
from firectl.server.disk.bin_copy import COPY
from firectl.server.disk.files import FileStore
from firectl.server.platform import Platform
from firectl.server.store.rows import FileRow, ModelRow

_MISSING_SHOWN = 10
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PRECISION_OF = {"BF16": "BF16", "F16": "FP16"}
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
_CONTEXT_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Checked:
    """What a validation found: the resource with what its files say, and what is worth knowing."""

    resource: Model
    warnings: list[str]
    weights: SafetensorsCopy | None = None
    """Of an adapter in a `.bin`. Kept beside it, so that nothing that serves it has to read the `.bin`."""


def validate(platform: Platform, caller: Caller, name: str) -> list[str]:
    """Check the files, make the model READY; what is worth knowing about them. One that is READY stays so.

    FAILED_PRECONDITION while files are missing or the base is not there; INVALID_ARGUMENT, saying where, what and what
    to do, for files that cannot be served.
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
            # Before it is read, so that a change from here on is noticed.
            stamps = {file.filename: stamp(store.path(row.folder, file.filename)) for file in files}
            digest = content_hash(store.path(row.folder), [file.filename for file in files])
        except InputError as error:
            code = Code.FAILED_PRECONDITION if isinstance(error, NotInspected) else Code.INVALID_ARGUMENT
            raise ApiError(code, error.message, hint=error.hint, details=error.details) from error
        except FileNotFoundError as error:
            raise _changed(name) from error
        written = store.path(row.folder, f".{SAFETENSORS}")
        if checked.weights is not None:
            shutil.move(checked.weights.path, written)
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
            resource = _with_details(now.resource, checked.resource)
            at = platform.clock()
            tx.models.update(
                name,
                resource=resource,
                state=ModelState.READY,
                content_hash=digest,
                update_time=at,
                stamps=stamps,
                check_time=at,
            )
            if checked.weights is not None:
                kept = written.replace(store.path(row.folder, SAFETENSORS))
                tx.models.update(name, stamps={**stamps, COPY: stamp(kept)})
        store.close_uploads(row.folder)
        return checked.warnings


def _changed(name: str) -> ApiError:
    return ApiError(Code.ABORTED, f"files of model {name} changed while they were being validated")


def _require_complete(store: FileStore, row: ModelRow, files: list[FileRow]) -> None:
    upload = f"firectl model upload {row.name.rsplit('/', 1)[1]} DIR"
    if not files:
        raise ApiError(Code.FAILED_PRECONDITION, f"model {row.name} has no files yet", hint=upload)
    missing = [file.filename for file in files if not file.complete]
    if missing:
        shown = ", ".join(missing[:_MISSING_SHOWN]) + (", …" if len(missing) > _MISSING_SHOWN else "")
        # To who has sent all of them this means that somebody else has begun them anew.
        arriving = any(store.is_arriving(row.folder, name) for name in missing)
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"{len(missing)} of {len(files)} files of model {row.name} are missing: {shown}"
            + ("; an upload of them has begun and is not over" if arriving else ""),
            hint=upload,
            reason=Reason.UPLOAD_SUPERSEDED if arriving else None,
        )


def _with_details(now: Model, checked: Model) -> Model:
    """What the files say, on the resource as it stands now: its texts may have been edited meanwhile."""
    said = ("peft_details", "base_model_details", "context_length", "supports_lora", "supported_precisions", "status")
    found = {field: getattr(checked, field) for field in said}
    return now.model_copy(update={field: value for field, value in found.items() if value is not None})


def _addon(store: FileStore, row: ModelRow, base: ModelRow | None) -> Checked:
    if base is None or base.kind != ModelKind.BASE:
        what = "is not on this platform" if base is None else f"is of kind {base.kind}, not a base"
        raise models.no_base(row, what)
    models.require_ready(base)
    base_model = BaseModel.open(store.path(base.folder))
    report = check(store.path(row.folder), base_model, deep=True)
    raise_for_errors(report)
    facts = report.facts
    details = PeftDetails(
        base_model=row.base,
        r=facts["r"],
        target_modules=list(facts["target_modules"]),
        base_model_type=base_model.model_type,
        merge_addon_model_name=row.resource.peft_details.merge_addon_model_name if row.resource.peft_details else None,
    )
    warnings = [finding.sentence for finding in report.warnings]
    # Said of the model itself, for whoever wonders why what it is deployed on answers as its base does.
    nothing = next((finding.what for finding in report.warnings if finding.what.endswith(CHANGES_NOTHING)), None)
    status = None if nothing is None else Status.of(None, nothing)
    context_length = _context_length(base_model.config)
    weights = report.adapter.copy if report.adapter is not None else None
    return Checked(Model(peft_details=details, context_length=context_length, status=status), warnings, weights)


def _base(store: FileStore, row: ModelRow) -> Checked:
    folder = store.path(row.folder)
    base = BaseModel.open(folder)
    if base.quantization is not None:
        raise AdapterError(
            f"config.json: the weights are quantized ({base.quantization}); bases are served from plain floats",
            hint="upload the model in bfloat16 or float16",
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise AdapterError(
            f"the tokenizer is missing: none of {', '.join(_TOKENIZERS)} is there",
            hint="save it beside the weights with tokenizer.save_pretrained()",
        )
    warnings = []
    if not _has_chat_template(store, row):
        warnings.append("tokenizer_config.json: no chat template, so chat completions are refused; completions work")
    dtypes = Counter[str]()
    for info in base.tensors.values():
        dtypes[info.dtype] += info.numel
    dtype = max(dtypes, key=lambda name: dtypes[name], default="")
    config = base.config
    before = row.resource.base_model_details or BaseModelDetails()
    details = before.model_copy(
        update={
            "checkpoint_format": "HUGGINGFACE",
            "model_type": base.model_type,
            "parameter_count": str(sum(dtypes.values())),
            # None, and so left out, for float32: the wire has no name for it.
            "default_precision": _PRECISION_OF.get(dtype),
            "moe": any(isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERT_COUNTS),
            "world_size": 1,
            "tunable": False,
        }
    )
    return Checked(
        Model(
            base_model_details=details,
            context_length=_context_length(config),
            supports_lora=any(is_allowed_target(module) for module in base.modules),
        ),
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
