"""A run of Ray Train with up to three workers, which loses a machine: a test's script.

Two processes of this machine play two machines of a cluster.
"""

import os
import sys
import tempfile
import threading
from pathlib import Path

import ray
import ray.train
from ray.cluster_utils import Cluster
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

import scdataset_core as scd
from tests.integrations import ray_loops


def main(plate: str, log: str, storage: str) -> None:
    """Train on a plate; a machine is lost once all workers have stopped."""
    # Others may fill the memory of the machine.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        small = {"object_store_memory": 80 << 20}
        head = {"num_cpus": 2, "include_dashboard": False, "temp_dir": folder, **small}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        machine = cluster.add_node(num_cpus=1, **small)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        done = threading.Event()
        losing = threading.Thread(
            target=lose, args=(cluster, machine, Path(log), done), daemon=True
        )
        losing.start()
        try:
            train(plate, log, storage)
        finally:
            done.set()
            losing.join()
            ray.shutdown()
            cluster.shutdown()


def train(plate: str, log: str, storage: str) -> None:
    loader = scd.Loader(
        scd.open(plate),
        scd.BlockShuffling(4),
        batch_size=9,
        fetch_factor=3,
        uneven="pad",
    )
    config = {"loader": loader, "log": log, "run": "all", "n_epochs": 1, "use": "plain"}
    config |= {"save_at": [4], "die_at": None, "stop_at": 6}
    trainer = DataParallelTrainer(
        ray_loops.train,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=(1, 3)),
        run_config=ray.train.RunConfig(
            name="run",
            storage_path=storage,
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    trainer.fit()


def lose(cluster: Cluster, machine: object, log: Path, done: threading.Event) -> None:
    """Remove a machine once the three workers have stopped."""
    while len(list(log.glob("stopped-*"))) < 3:
        if done.wait(0.1):
            return
    cluster.remove_node(machine)


if __name__ == "__main__":
    main(*sys.argv[1:])
