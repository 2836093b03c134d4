# One job per seed and feature: a fit takes milliseconds, a job's start-up a second. An added attack
# runs this again, but leaves the fitted detectors' existing cells as they were, to the last digit.
rule detect:
    input:
        features=collect(
            "<run>/features/{attack}/{part}.parquet",
            attack=["clean", *PIPELINE.attacks],
            part=lambda wildcards: PIPELINE.parts(wildcards.feature),
            allow_missing=True,
        ),
        attacks=collect(
            "<run>/attacks/{attack}.safetensors",
            attack=PIPELINE.attacks,
            allow_missing=True,
        ),
    output:
        "<run>/scores/{feature}.parquet",
    log:
        messages="<logs>/detect/{dataset}/{model}/seed{seed}/{feature}.log",
        timing="<logs>/detect/{dataset}/{model}/seed{seed}/{feature}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=120,
    params:
        spec=lambda wildcards: PIPELINE.detection_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.code(
            "detect", PIPELINE.detection_spec(wildcards.feature)
        ),
    shell:
        "python -m advdetect detect --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.feature:q} --seed {wildcards.seed} --threads {threads}"
        " --features {input.features:q} --attacks {input.attacks:q} --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule evaluate:
    input:
        collect(
            "<results>/{dataset}/{model}/seed{seed}/scores/{feature}.parquet",
            **PIPELINE.run_names,
            allow_missing=True,
        ),
    output:
        "<results>/metrics/{feature}.csv",
    log:
        messages="<logs>/evaluate/{feature}.log",
        timing="<logs>/evaluate/{feature}.json",
    conda:
        "../../envs/advdetect.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=120,
    params:
        code=PIPELINE.code("evaluate"),
        replicates=PIPELINE.evaluation["replicates"],
        bootstrap_seed=PIPELINE.evaluation["bootstrap_seed"],
        primary_detector=PIPELINE.evaluation["primary_detector"],
    shell:
        "python -m advdetect evaluate --name {wildcards.feature:q} --scores {input:q}"
        " --replicates {params.replicates} --bootstrap-seed {params.bootstrap_seed}"
        " --primary-detector {params.primary_detector:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


# Of all features at once, since each is compared with every other.
rule paired:
    input:
        collect(
            "<results>/{dataset}/{model}/seed{seed}/scores/{feature}.parquet",
            feature=PIPELINE.features,
            **PIPELINE.run_names,
        ),
    output:
        "<results>/metrics/paired.csv",
    log:
        messages="<logs>/paired/paired.log",
        timing="<logs>/paired/paired.json",
    conda:
        "../../envs/advdetect.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=120,
    params:
        code=PIPELINE.code("paired"),
        replicates=PIPELINE.evaluation["replicates"],
        bootstrap_seed=PIPELINE.evaluation["bootstrap_seed"],
        primary_detector=PIPELINE.evaluation["primary_detector"],
    shell:
        "python -m advdetect paired --scores {input:q}"
        " --replicates {params.replicates} --bootstrap-seed {params.bootstrap_seed}"
        " --primary-detector {params.primary_detector:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


ruleorder: paired > evaluate
