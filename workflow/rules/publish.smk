# What is published has names that say nothing of what made it: a stamp beside it does, so it is made
# again where the stamp that is wanted is not there.
for published in PIPELINE.published:

    rule:
        name:
            published.rule
        input:
            **PIPELINE.published_inputs(published),
        output:
            **PIPELINE.published_outputs(published),
        log:
            messages=f"{PIPELINE.published_log(published)}.log",
            timing=f"{PIPELINE.published_log(published)}.json",
        group:
            SUBMISSION.published_group(published)
        localrule: published.is_local
        conda:
            "../../envs/advdetect.yaml"
        resources:
            mem_mb=PIPELINE.megabytes,
            runtime=120,
        params:
            command=PIPELINE.published_command(published),
            runtime=PIPELINE.runtime,
        shell:
            COMMAND
