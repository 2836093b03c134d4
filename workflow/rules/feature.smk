rule fit_feature:
    input:
        data="<results>/data/{dataset}/train.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/fitted/{feature}.safetensors",
    log:
        messages="<logs>/fit_feature/{dataset}/{model}/seed{seed}/{feature}.log",
        timing="<logs>/fit_feature/{dataset}/{model}/seed{seed}/{feature}.json",
    wildcard_constraints:
        feature=PIPELINE.feature_names,
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        batch_size=PIPELINE.batch_size,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=240,
    params:
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.code(
            "fit_feature", PIPELINE.feature_spec(wildcards.feature)
        ),
        options=PIPELINE.feature_options,
    shell:
        "python -m advdetect fit-feature --spec {params.spec:q} --code {params.code}"
        " --seed {wildcards.seed}"
        " --device {resources.device} --threads {threads} --batch-size {resources.batch_size}"
        " --data {input.data:q} --model {input.model:q} {params.options:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


# One rule for the clean images, which every attack shares, and one for an attack's own; the fitted
# model is an input only of features that have one.
rule feature_clean:
    input:
        data="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
        fitted=PIPELINE.fitted,
    output:
        "<run>/features/clean/{feature}.parquet",
    log:
        messages="<logs>/feature/{dataset}/{model}/seed{seed}/clean/{feature}.log",
        timing="<logs>/feature/{dataset}/{model}/seed{seed}/clean/{feature}.json",
    wildcard_constraints:
        feature=PIPELINE.feature_names,
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        batch_size=PIPELINE.batch_size,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=240,
    params:
        source="--data",
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.feature_code(wildcards.feature),
        options=PIPELINE.feature_options,
    shell:
        "python -m advdetect feature --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.feature:q} --seed {wildcards.seed}"
        " --device {resources.device} --threads {threads} --batch-size {resources.batch_size}"
        " {params.source} {input.data:q} --model {input.model:q} --fitted {input.fitted:q}"
        " {params.options:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


use rule feature_clean as feature with:
    input:
        data="<run>/attacks/{attack}.safetensors",
        model="<run>/model.safetensors",
        fitted=PIPELINE.fitted,
    output:
        "<run>/features/{attack}/{feature}.parquet",
    log:
        messages="<logs>/feature/{dataset}/{model}/seed{seed}/{attack}/{feature}.log",
        timing="<logs>/feature/{dataset}/{model}/seed{seed}/{attack}/{feature}.json",
    params:
        source="--attack",
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.feature_code(wildcards.feature),
        options=PIPELINE.feature_options,


# Of the training images that the auxiliary model was not fitted on: defences get thresholds from them.
use rule feature_clean as feature_held_out with:
    input:
        data="<results>/data/{dataset}/train.safetensors",
        model="<run>/model.safetensors",
        fitted=PIPELINE.fitted,
    output:
        "<run>/features/held_out/{feature}.parquet",
    log:
        messages="<logs>/feature/{dataset}/{model}/seed{seed}/held_out/{feature}.log",
        timing="<logs>/feature/{dataset}/{model}/seed{seed}/held_out/{feature}.json",
    params:
        source="--held-out",
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.feature_code(wildcards.feature),
        options=PIPELINE.feature_options,


ruleorder: feature_held_out > feature_clean > feature
