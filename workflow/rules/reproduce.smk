# A table of a paper beside ours, made from just what it names.
rule reproduce:
    input:
        sources=PIPELINE.reproduction_inputs,
        reported=lambda wildcards: PIPELINE.reproduction_reported(
            wildcards.reproduction
        ),
    output:
        table=report(
            "<results>/tables/{reproduction}.md",
            caption="../report/reproduction.rst",
            category="Reported and reproduced",
            labels={"table": "{reproduction}"},
        ),
        data=multiext("<results>/tables/{reproduction}", ".csv", ".tex", ".txt"),
    log:
        messages="<logs>/reproduce/{reproduction}.log",
        timing="<logs>/reproduce/{reproduction}.json",
    wildcard_constraints:
        reproduction=PIPELINE.reproduction_names,
    conda:
        "../../envs/advdetect.yaml"
    params:
        spec=lambda wildcards: PIPELINE.reproduction_spec(wildcards.reproduction),
        code=PIPELINE.code("reproduce"),
        folder=lambda wildcards, output: Path(output.table).parent.as_posix(),
        dataset=PIPELINE.experiment.dataset_name,
        replicates=PIPELINE.evaluation["replicates"],
        bootstrap_seed=PIPELINE.evaluation["bootstrap_seed"],
    shell:
        "python -m advdetect reproduce --spec {params.spec:q} --code {params.code}"
        " --name {wildcards.reproduction:q} --reported {input.reported:q}"
        " --dataset {params.dataset:q} --inputs {input.sources:q}"
        " --replicates {params.replicates} --bootstrap-seed {params.bootstrap_seed}"
        " --output {params.folder:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule eigenvalue_path:
    input:
        data="<results>/data/{dataset}/test.safetensors",
        model="<run>/model.safetensors",
        attack="<run>/attacks/{attack}.safetensors",
    output:
        "<run>/paths/{attack}.parquet",
    log:
        messages="<logs>/eigenvalue_path/{dataset}/{model}/seed{seed}/{attack}.log",
        timing="<logs>/eigenvalue_path/{dataset}/{model}/seed{seed}/{attack}.json",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.threads
    resources:
        device=PIPELINE.device,
        gpu=PIPELINE.gpu,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        spec=PIPELINE.path_spec,
        code=PIPELINE.code("eigenvalue_path"),
    shell:
        "python -m advdetect eigenvalue-path --spec {params.spec:q} --code {params.code}"
        " --device {resources.device} --threads {threads}"
        " --data {input.data:q} --model {input.model:q} --attack {input.attack:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule paper_figure:
    input:
        PIPELINE.paper_figure_inputs,
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Reported and reproduced",
            labels={"figure": "{figure}"},
        ),
        png="<results>/figures/{figure}.png",
    log:
        messages="<logs>/paper_figure/{figure}.log",
        timing="<logs>/paper_figure/{figure}.json",
    wildcard_constraints:
        figure=PIPELINE.paper_figure_names,
    conda:
        "../../envs/advdetect.yaml"
    params:
        spec=lambda wildcards: PIPELINE.paper_figure_spec(wildcards.figure),
        code=PIPELINE.code("paper_figure"),
    shell:
        "python -m advdetect paper-figure --spec {params.spec:q} --code {params.code}"
        " --inputs {input:q} --output {output.svg:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


ruleorder: paper_figure > figure
