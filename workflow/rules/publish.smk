rule tables:
    input:
        metrics=collect("<results>/metrics/{feature}.csv", feature=PIPELINE.features),
        paired="<results>/metrics/paired.csv",
        attacks=collect(
            "<results>/{dataset}/{model}/seed{seed}/attacks/{attack}.safetensors",
            attack=PIPELINE.attacks,
            **PIPELINE.run_names,
        ),
        defenses=collect(
            "<results>/{dataset}/{model}/seed{seed}/defenses/{defense}.parquet",
            defense=PIPELINE.defenses,
            **PIPELINE.run_names,
        ),
        reported=PIPELINE.reported,
    output:
        tables=report(
            collect("<results>/tables/{table}.md", table=PIPELINE.tables),
            caption="../report/tables.rst",
            category="Tables",
        ),
        data=collect(
            "<results>/tables/{table}.{suffix}",
            table=PIPELINE.tables,
            suffix=["csv", "tex", "txt"],
        ),
        attack_summary="<results>/tables/attack_summary.csv",
    log:
        messages="<logs>/tables/tables.log",
        timing="<logs>/tables/tables.json",
    conda:
        "../../envs/advdetect.yaml"
    params:
        code=PIPELINE.code("tables"),
        folder=lambda wildcards, output: Path(output.attack_summary).parent.as_posix(),
        dataset=PIPELINE.experiment.dataset_name,
        detector=PIPELINE.evaluation["primary_detector"],
        controls=PIPELINE.controls,
        replicates=PIPELINE.evaluation["replicates"],
        bootstrap_seed=PIPELINE.evaluation["bootstrap_seed"],
    shell:
        "python -m advdetect tables --metrics {input.metrics:q} --paired {input.paired:q}"
        " --attacks {input.attacks:q}"
        " --defenses {input.defenses:q} --reported {input.reported:q} --dataset {params.dataset:q}"
        " --detector {params.detector:q} --controls {params.controls:q}"
        " --replicates {params.replicates} --bootstrap-seed {params.bootstrap_seed}"
        " --output {params.folder:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule figure:
    input:
        files=PIPELINE.figure_inputs,
        reported=PIPELINE.figure_reported,
    output:
        svg=report(
            "<results>/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        png="<results>/figures/{figure}.png",
    log:
        messages="<logs>/figure/{figure}.log",
        timing="<logs>/figure/{figure}.json",
    conda:
        "../../envs/advdetect.yaml"
    params:
        code=PIPELINE.code("figures"),
        kind=PIPELINE.figure_kind,
        detector=PIPELINE.evaluation["primary_detector"],
        options=PIPELINE.figure_options,
    shell:
        "python -m advdetect figures --figure {params.kind:q} --inputs {input.files:q}"
        " --reported {input.reported:q} {params.options:q}"
        " --detector {params.detector:q} --output {output.svg:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"


rule report:
    input:
        metrics=collect("<results>/metrics/{feature}.csv", feature=PIPELINE.features),
        paired="<results>/metrics/paired.csv",
        defense_tables=collect(
            "<results>/tables/{table}.csv", table=PIPELINE.defense_tables
        ),
        attack_summary="<results>/tables/attack_summary.csv",
        models=collect(
            "<results>/{dataset}/{model}/seed{seed}/metrics.json", **PIPELINE.run_names
        ),
        attacks=collect(
            "<results>/{dataset}/{model}/seed{seed}/attacks/{attack}.safetensors",
            attack=PIPELINE.attacks,
            **PIPELINE.run_names,
        ),
        reproductions=collect(
            "<results>/tables/{table}.csv", table=PIPELINE.reproductions
        ),
        figures=collect(
            "<results>/figures/{figure}.svg",
            figure=PIPELINE.figures + PIPELINE.paper_figures,
        ),
    output:
        "<results>/report.html",
    log:
        messages="<logs>/report/report.log",
        timing="<logs>/report/report.json",
    conda:
        "../../envs/advdetect.yaml"
    params:
        spec=PIPELINE.report_spec,
        code=PIPELINE.code("report"),
        template=PIPELINE.report_template,
        command=PIPELINE.command,
        logs=f"{PIPELINE.results}/logs",
    shell:
        "python -m advdetect report --spec {params.spec:q} --command {params.command:q}"
        " --metrics {input.metrics:q} --paired {input.paired:q}"
        " --defense-tables {input.defense_tables:q}"
        " --reproductions {input.reproductions:q} --attack-summary {input.attack_summary:q}"
        " --models {input.models:q} --attacks {input.attacks:q} --figures {input.figures:q}"
        " --logs {params.logs:q}"
        " --output {output:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
