rule prepare_data:
    output:
        train="<results>/data/{dataset}/train.safetensors",
        test="<results>/data/{dataset}/test.safetensors",
    log:
        messages="<logs>/prepare_data/{dataset}.log",
        timing="<logs>/prepare_data/{dataset}.json",
    conda:
        "../../envs/advdetect.yaml"
    resources:
        root=PIPELINE.data_root,
        mem_mb=4000,
        runtime=30,
    params:
        spec=PIPELINE.dataset_spec,
        evaluate_on=PIPELINE.experiment.settings["evaluate_on"],
        source_files=PIPELINE.source_files,
        code=PIPELINE.code("prepare_data", PIPELINE.dataset_spec),
    shell:
        "python -m advdetect prepare-data --spec {params.spec:q} --code {params.code}"
        " --root={resources.root:q} --evaluate-on {params.evaluate_on}"
        " --train {output.train:q} --test {output.test:q} --timing {log.timing:q}"
        " 2>&1 | tee {log.messages:q}"
