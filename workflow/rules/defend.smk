# One job per seed and defence: what takes time, the features, is done before.
rule defend:
    input:
        unpack(PIPELINE.defense_inputs),
        data="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/defenses/{defense}.parquet",
    log:
        messages="<logs>/defend/{dataset}/{model}/seed{seed}/{defense}.log",
        timing="<logs>/defend/{dataset}/{model}/seed{seed}/{defense}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        batch_size=PIPELINE.batch_size,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=120,
    params:
        spec=lambda wildcards: PIPELINE.defense_spec(wildcards.defense),
        code=lambda wildcards: PIPELINE.code(
            "defend", PIPELINE.defense_spec(wildcards.defense)
        ),
    shell:
        "python -m advdetect defend --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.defense:q}"
        " --device {resources.device} --threads {threads} --batch-size {resources.batch_size}"
        " --data {input.data:q} --model {input.model:q} --attacks {input.attacks:q}"
        " --features {input.features:q} --fitted {input.fitted:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
