rule sensitivity:
    input:
        data="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
        attack="<run>/attacks/{attack}.safetensors",
    output:
        "<run>/sensitivity/{attack}.safetensors",
    log:
        messages="<logs>/sensitivity/{dataset}/{model}/seed{seed}/{attack}.log",
        timing="<logs>/sensitivity/{dataset}/{model}/seed{seed}/{attack}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        spec=PIPELINE.sensitivity_spec,
        code=PIPELINE.code("sensitivity"),
    shell:
        "python -m advdetect sensitivity --spec {params.spec:q} --code {params.code}"
        " --device {resources.device} --threads {threads}"
        " --data {input.data:q} --model {input.model:q} --attack {input.attack:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
