from snakemake_interface_executor_plugins.settings import SharedFSUsage

# The jobs of a sweep share their work through files beside the results. The values of the sweep are
# a resource, not a parameter: an added one makes no finished attack stale.
HAS_SHARED_FILES = (
    SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage
)


rule attack:
    input:
        data="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/attacks/{attack}.safetensors",
    log:
        messages="<logs>/attack/{dataset}/{model}/seed{seed}/{attack}.log",
        timing="<logs>/attack/{dataset}/{model}/seed{seed}/{attack}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        batch_size=PIPELINE.batch_size,
        gpu=PIPELINE.gpu,
        sweep=lambda wildcards: (
            PIPELINE.sweep(wildcards.attack) if HAS_SHARED_FILES else "{}"
        ),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=240,
    params:
        spec=lambda wildcards: PIPELINE.attack_spec(wildcards.attack),
        code=lambda wildcards: PIPELINE.code(
            "attack", PIPELINE.attack_spec(wildcards.attack)
        ),
    shell:
        "python -m advdetect attack --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.attack:q} --sweep {resources.sweep:q} --seed {wildcards.seed}"
        " --device {resources.device} --threads {threads} --batch-size {resources.batch_size}"
        " --data {input.data:q} --model {input.model:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
