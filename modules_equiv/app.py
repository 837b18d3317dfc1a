"""The app: one stack per module, in one deployment."""

from pathlib import Path

from cdktf import App

from constructs_lib.backend_memory import forget_other_encryption
from constructs_lib.base_stack import BaseStack
from constructs_lib.cli_run import CliRun, declared_dependencies
from constructs_lib.terraform_text import writes_hcl
from modules_equiv.limit import check_limit
from modules_equiv.mlcore.stack import MlCoreStack
from modules_equiv.protected import check_protection
from modules_equiv.settings import Settings
from modules_equiv.stats_monitor import stack as stats_monitor
from modules_equiv.stats_monitor.stack import StatsMonitorStack
from modules_equiv.train_model import stack as train_model
from modules_equiv.train_model.stack import TrainModelStack
from modules_equiv.train_model_dev import stack as train_model_dev
from modules_equiv.train_model_dev.stack import TrainModelDevStack


def add_stacks(app: App, settings: Settings) -> dict[str, BaseStack]:
    """Return the four stacks by name, mlcore first, without declared dependencies."""
    deployment, key_name = settings.stack_deployment(), settings.access.ssh_keypair_name
    restored = settings.mlcore.restored_folder is not None
    stacks: list[BaseStack] = [
        MlCoreStack(
            app,
            deployment=deployment,
            config=settings.mlcore,
            deployer_cidrs=settings.access.deployer_cidrs,
            key_name=key_name,
            above=[stats_monitor.STACK, train_model.STACK, train_model_dev.STACK],
        ),
        StatsMonitorStack(app, deployment=deployment, config=settings.stats_monitor, key_name=key_name),
        TrainModelStack(app, deployment=deployment, config=settings.train_model, key_name=key_name, restored=restored),
        TrainModelDevStack(app, deployment=deployment, config=settings.train_model_dev, restored=restored),
    ]
    return {stack.node.id: stack for stack in stacks}


def synthesize(settings: Settings, run: CliRun | None) -> None:
    """Write every stack to the CLI's folder (cdktf.out), with the dependencies that `run` allows.

    Raises, before anything is written, LimitError if a stack costs more than the settings allow, and ProtectedError if
    the run would destroy what they protect.
    """
    app = App()
    stacks = add_stacks(app, settings)
    core, *others = stacks.values()
    check_protection(run, allow_efs_destroy=settings.mlcore.allow_efs_destroy, core=core.node.id, stacks=list(stacks))
    for stack in others:
        if declared_dependencies(run, stack=stack.node.id, needs=[core.node.id], all_stacks=list(stacks)):
            stack.add_dependency(core)
    check_limit(stacks, settings.deployment.max_hourly_usd, run)
    app.synth()
    for name in stacks:
        forget_other_encryption(Path(app.outdir, "stacks", name), name, settings.stack_deployment())
    if writes_hcl():
        for stack in stacks.values():
            stack.write_hcl_supplement(app.outdir)
