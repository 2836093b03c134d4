# Activations are collected once, of the training images, of the clean images and of each attack's; the
# features that are made from them need neither the model nor torch.
rule activations:
    input:
        source="<run>/attacks/{attack}.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/activations/{attack}.safetensors",
    log:
        messages="<logs>/activations/{dataset}/{model}/seed{seed}/{attack}.log",
        timing="<logs>/activations/{dataset}/{model}/seed{seed}/{attack}.json",
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
        source="--attack",
        spec=PIPELINE.activations_spec,
        code=PIPELINE.code("activations"),
    shell:
        "python -m advdetect activations --spec {params.spec:q} --code {params.code}"
        " --device {resources.device} --threads {threads} --batch-size {resources.batch_size}"
        " {params.source} {input.source:q} --model {input.model:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


use rule activations as activations_clean with:
    input:
        source="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/activations/clean.safetensors",
    log:
        messages="<logs>/activations/{dataset}/{model}/seed{seed}/clean.log",
        timing="<logs>/activations/{dataset}/{model}/seed{seed}/clean.json",
    params:
        source="--data",
        spec=PIPELINE.activations_spec,
        code=PIPELINE.code("activations"),


use rule activations as activations_train with:
    input:
        source="<results>/data/{dataset}/train.safetensors",
        model="<run>/model.safetensors",
    output:
        "<run>/activations/train.safetensors",
    log:
        messages="<logs>/activations/{dataset}/{model}/seed{seed}/train.log",
        timing="<logs>/activations/{dataset}/{model}/seed{seed}/train.json",
    params:
        source="--train",
        spec=PIPELINE.activations_spec,
        code=PIPELINE.code("activations"),


ruleorder: activations_train > activations_clean > activations


rule fit_activation_feature:
    input:
        "<run>/activations/train.safetensors",
    output:
        "<run>/fitted/{feature}.safetensors",
    log:
        messages="<logs>/fit_feature/{dataset}/{model}/seed{seed}/{feature}.log",
        timing="<logs>/fit_feature/{dataset}/{model}/seed{seed}/{feature}.json",
    wildcard_constraints:
        feature=PIPELINE.activation_features,
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=120,
    params:
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.code(
            "fit_activation_feature", PIPELINE.feature_spec(wildcards.feature)
        ),
    shell:
        "python -m advdetect fit-activation-feature --spec {params.spec:q} --code {params.code}"
        " --activations {input:q} --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule activation_feature:
    input:
        activations="<run>/activations/{attack}.safetensors",
        fitted=PIPELINE.fitted,
    output:
        "<run>/features/{attack}/{feature}.parquet",
    log:
        messages="<logs>/feature/{dataset}/{model}/seed{seed}/{attack}/{feature}.log",
        timing="<logs>/feature/{dataset}/{model}/seed{seed}/{attack}/{feature}.json",
    wildcard_constraints:
        feature=PIPELINE.activation_features,
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=120,
    params:
        spec=lambda wildcards: PIPELINE.feature_spec(wildcards.feature),
        code=lambda wildcards: PIPELINE.feature_code(wildcards.feature),
    shell:
        "python -m advdetect activation-feature --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.feature:q} --activations {input.activations:q}"
        " --fitted {input.fitted:q} --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
