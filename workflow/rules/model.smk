rule train:
    input:
        train="<results>/data/{dataset}/train.safetensors",
        test="<results>/data/{dataset}/test.safetensors",
        weights=PIPELINE.own_weights,
    output:
        model="<run>/model.safetensors",
        metrics="<run>/metrics.json",
    log:
        messages="<logs>/train/{dataset}/{model}/seed{seed}.log",
        timing="<logs>/train/{dataset}/{model}/seed{seed}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=240,
    params:
        spec=PIPELINE.model_spec,
        code=PIPELINE.code("train", PIPELINE.model_spec),
    shell:
        "python -m advdetect train --spec {params.spec:q} --code {params.code}"
        " --seed {wildcards.seed} --device {resources.device} --threads {threads}"
        " --train {input.train:q} --test {input.test:q}"
        " --model {output.model:q} --metrics {output.metrics:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
