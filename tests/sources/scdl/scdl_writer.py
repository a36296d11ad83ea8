"""Writes SCDL folders as bionemo-scdl 0.1.3 does, byte for byte but for Parquet."""

import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

KINDS = ("uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
VERSION = "0.1.3"


def write_folder(path, adata, *, data_dtype="float32", label="parts.h5ad"):
    """Write one AnnData as a `SingleCellMemMapDataset`."""
    path.mkdir(parents=True)
    (path / "version.json").write_text(json.dumps(VERSION))
    arrays = {
        "DATA": ("data.npy", adata.X.data.astype(data_dtype)),
        "ROWPTR": ("row_ptr.npy", _smallest(adata.X.indptr, adata.X.nnz)),
        "COLPTR": ("col_ptr.npy", _smallest(adata.X.indices, adata.n_vars - 1)),
    }
    for file, values in arrays.values():
        (path / file).write_bytes(values.tobytes())
    header = {name: (len(a), a.dtype.name) for name, (_, a) in arrays.items()}
    indices = {"var_features": adata.var, "obs_features": adata.obs}
    (path / "header.sch").write_bytes(header_bytes(header, adata.n_obs))
    (path / "metadata.json").write_text(json.dumps({"num_rows": adata.n_obs}))
    for name, frame in indices.items():
        features = {c: np.array(frame[c].values) for c in frame.columns}
        features = features or {name.replace("features", "feature_id"): frame.index}
        write_index(path / name, [features], [adata.n_obs], label)
    return path


def write_index(path, blocks, stops, label="parts.h5ad"):
    """Write a feature index: the features of each block, and where it stops."""
    path.mkdir(exist_ok=True)
    digits = len(str(len(blocks)))
    for i, features in enumerate(blocks):
        columns = {c: pa.array(v, from_pandas=True) for c, v in features.items()}
        pq.write_table(pa.table(columns), path / f"dataframe_{i:0{digits}d}.parquet")
    np.save(path / "cumulative_sum_index.npy", np.array([-1, *stops]))
    np.save(path / "labels.npy", [label] * len(blocks))
    np.save(path / "version.npy", np.array(VERSION))


def header_bytes(arrays, n_rows, *, version=(0, 1, 0), order=1, storage=1):
    """Return a header of arrays, given by name as length and type."""
    out = b"SCDL" + bytes([*version, order]) + struct.pack(">II", storage, len(arrays))
    for name, (length, dtype) in arrays.items():
        kind = KINDS.index(dtype) + 1 if dtype in KINDS else 99
        out += _text(name) + struct.pack(">QI?", length, kind, False)
    out += struct.pack(">I", 2)
    for name in ("var_features", "obs_features"):
        files = [
            f"{name}/{file}"
            for file in ("cumulative_sum_index.npy", "labels.npy", "version.npy")
        ]
        files.append(f"{name}/dataframe_0.parquet")
        out += _text(name) + struct.pack(">QII", n_rows, 8, len(files))
        out += b"".join(map(_text, files)) + b"\0"
    return out


def _text(text):
    return struct.pack(">I", len(text)) + text.encode()


def _smallest(values, largest):
    return values.astype(np.min_scalar_type(int(largest)))
