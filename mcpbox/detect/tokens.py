"""The formats of the tokens that services hand out. No I/O.

Written after what the services publish about their own tokens, or after the tokens themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from msgspec import Struct


class Format(Struct, frozen=True):
    """One format: ``kind`` is also the name that a secret of it gets where nothing better is known.

    ``pattern`` matches the whole token and nothing else. ``marks`` are texts one of which every token of the format
    contains; without one of them in a value the pattern is not tried. ``before`` is how many characters of the token
    stand before the mark, at least and at most; ``near``, where a mark is too common to be looked for by itself, a
    pattern that matches at the mark of every token. The time stays linear because repetitions are bounded, none is
    followed by another that could take its text, and a token does not begin inside a run of its own letters: where
    those include + and /, the pattern says so itself.
    """

    kind: str
    marks: tuple[str, ...]
    pattern: str
    before: tuple[int, int] = (0, 0)
    near: str = ""


#: RFC 4122's text form.
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

TOKENS = (
    # Source code
    Format("github-token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), "gh[pousr]_[A-Za-z0-9]{36,251}"),
    Format("github-fine-grained-token", ("github_pat_",), "github_pat_[A-Za-z0-9_]{40,251}"),
    Format(
        "gitlab-token",
        ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glptt-", "glcbt-", "gloas-", "glagent-", "glimt-", "glffct-"),
        r"gl(?:pat|dt|ft|soat|rt|ptt|cbt|oas|agent|imt|ffct)-[A-Za-z0-9_-]{20,300}(?:\.[0-9a-z]{2,12}){0,2}",
    ),
    Format("bitbucket-app-password", ("ATBB",), "ATBB[A-Za-z0-9]{28}[A-F0-9]{4}"),
    Format("atlassian-token", ("ATATT3", "ATCTT3", "ATSTT3"), "AT[ACS]TT3[A-Za-z0-9_=-]{60,400}"),
    Format("sourcegraph-token", ("sgp_",), "sgp_(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40}"),
    # Talk
    Format("slack-bot-token", ("xoxb-",), "xoxb-[0-9]{10,13}-[0-9]{10,13}-[A-Za-z0-9]{18,40}"),
    Format("slack-user-token", ("xoxp-", "xoxe-"), "xox[pe](?:-[0-9]{10,13}){3}-[A-Za-z0-9]{28,40}"),
    Format("slack-app-token", ("xapp-",), "xapp-[0-9]-[A-Z0-9]{9,13}-[0-9]{10,15}-[a-z0-9]{40,80}"),
    Format("slack-session-token", ("xoxc-", "xoxs-"), "xox[cs]-[0-9]{10,13}-[0-9]{10,13}-[0-9]{10,13}-[a-f0-9]{32,80}"),
    Format("slack-cookie", ("xoxd-",), "(?<![%/+])xoxd-[A-Za-z0-9%/+=-]{40,600}"),
    Format("slack-refresh-token", ("xoxe-", "xoxe.xox"), r"xoxe(?:\.xox[bp])?-[0-9]-[A-Za-z0-9]{140,220}"),
    Format(
        "slack-webhook",
        ("https://hooks.slack.com/",),
        r"https://hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24}",
    ),
    Format(
        "discord-bot-token",
        (".",),
        r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
        (24, 28),
        r"\.(?=[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27})",
    ),
    Format(
        "discord-webhook",
        ("https://discord",),
        r"https://discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,68}",
    ),
    Format("telegram-bot-token", (":AA",), r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}", (8, 10)),
    Format(
        "teams-webhook",
        (".webhook.office.com/",),
        rf"https://[a-z0-9-]{{1,63}}\.webhook\.office\.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/[0-9a-f]{{32}}/{_UUID}",
        (9, 71),
    ),
    # Models
    Format(
        "openai-key",
        ("sk-",),
        "sk-(?:(?:proj|svcacct|admin|None)-)?[A-Za-z0-9_-]{20,80}T3BlbkFJ[A-Za-z0-9_-]{20,80}",
    ),
    Format("anthropic-key", ("sk-ant-",), "sk-ant-[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{80,120}"),
    Format("openrouter-key", ("sk-or-",), "sk-or-v1-[0-9a-f]{64}"),
    Format("model-api-key", ("sk-",), "sk-[A-Za-z0-9]{32,64}"),
    Format("google-api-key", ("AIza",), "AIza[A-Za-z0-9_-]{35}"),
    Format("groq-key", ("gsk_",), "gsk_[A-Za-z0-9]{52}"),
    Format("xai-key", ("xai-",), "xai-[A-Za-z0-9]{80}"),
    Format("perplexity-key", ("pplx-",), "pplx-[A-Za-z0-9]{48,56}"),
    Format("huggingface-token", ("hf_",), "hf_[A-Za-z]{34}"),
    Format("huggingface-organisation-token", ("api_org_",), "api_org_[A-Za-z]{34}"),
    Format("replicate-token", ("r8_",), "r8_[A-Za-z0-9]{37,40}"),
    Format("nvidia-key", ("nvapi-",), "nvapi-[A-Za-z0-9_-]{60,80}"),
    Format("fireworks-key", ("fw_",), "fw_[A-Za-z0-9]{22,48}"),
    Format("cerebras-key", ("csk-",), "csk-[a-z0-9]{48}"),
    Format("voyage-key", ("pa-",), "pa-[A-Za-z0-9_-]{43}"),
    Format("jina-key", ("jina_",), "jina_[0-9a-f]{32}[A-Za-z0-9_-]{28}"),
    Format("elevenlabs-key", ("sk_",), "sk_[0-9a-f]{48}"),
    Format("pinecone-key", ("pcsk_",), "pcsk_[A-Za-z0-9]{5,6}_[A-Za-z0-9]{60,64}"),
    Format("langsmith-key", ("lsv2_",), "lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    Format("langfuse-key", ("sk-lf-",), f"sk-lf-{_UUID}"),
    # Search and scraping
    Format("tavily-key", ("tvly-",), "tvly-(?:(?:dev|prod)-)?[A-Za-z0-9-]{28,64}"),
    Format("firecrawl-key", ("fc-",), "fc-[0-9a-f]{32}"),
    Format("brave-key", ("BSA",), "BSA[A-Za-z0-9_-]{28}"),
    Format("apify-token", ("apify_api_",), "apify_api_[A-Za-z0-9]{36,40}"),
    Format("context7-key", ("ctx7sk-",), f"ctx7sk-{_UUID}"),
    Format("browserbase-key", ("bb_live_",), "bb_live_[A-Za-z0-9_-]{27}"),
    Format("scrapfly-key", ("scp-live-", "scp-test-"), "scp-(?:live|test)-[0-9a-f]{32}"),
    Format("e2b-key", ("e2b_",), "e2b_[0-9a-f]{40}"),
    # Clouds
    Format("aws-access-key-id", ("AKIA", "ASIA", "ABIA", "ACCA"), "(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    Format("aws-bedrock-key", ("ABSK",), "(?<![+/])ABSK[A-Za-z0-9+/]{100,130}={0,2}"),
    Format(
        "aws-session-token",
        ("IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz"),
        "(?<![+/])(?:IQoJb3JpZ2lu|F[wQ]oGZXIvYXdz)[A-Za-z0-9+/]{100,1800}={0,2}",
    ),
    Format("google-access-token", ("ya29.",), r"ya29\.[A-Za-z0-9_-]{40,400}"),
    Format("google-refresh-token", ("1//0",), "1//0[A-Za-z0-9_-]{80,120}"),
    Format("google-client-secret", ("GOCSPX-",), "GOCSPX-[A-Za-z0-9_-]{28}"),
    Format("azure-client-secret", ("Q~",), r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", (4, 4)),
    Format("azure-devops-token", ("AZDO",), "[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}", (76, 76)),
    Format("digitalocean-token", ("dop_v1_", "doo_v1_", "dor_v1_"), "do[opr]_v1_[0-9a-f]{64}"),
    Format("cloudflare-origin-key", ("v1.0-",), r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}"),
    Format("heroku-key", ("HRKU-",), "HRKU-[A-Za-z0-9_-]{36,64}"),
    Format("fly-token", ("fm1", "fm2_"), "(?<![+/])fm(?:1[ar]|2)_[A-Za-z0-9+/]{100,2000}={0,3}"),
    Format("netlify-token", ("nfp_",), "nfp_[A-Za-z0-9]{36}"),
    Format("render-key", ("rnd_",), "rnd_[A-Za-z0-9]{28,40}"),
    Format("alibaba-access-key-id", ("LTAI",), "LTAI[A-Za-z0-9]{17,21}"),
    # Machines and secrets
    Format("vault-token", ("hvs.", "hvb.", "hvr."), r"hv[sbr]\.[A-Za-z0-9_-]{23,200}"),
    Format("terraform-token", (".atlasv1.",), r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", (14, 14)),
    Format(
        "doppler-token", ("dp.",), r"dp\.(?:pt|st|ct|sa|said|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}"
    ),
    Format("pulumi-token", ("pul-",), "pul-[0-9a-f]{40}"),
    Format("tailscale-key", ("tskey-",), "tskey-[a-z]{3,12}-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{20,48}"),
    Format("one-password-token", ("ops_eyJ",), "(?<![+/])ops_eyJ[A-Za-z0-9+/_-]{200,2000}={0,2}"),
    Format("age-key", ("AGE-SECRET-KEY-1",), "AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}"),
    Format("jwt", ("eyJ",), r"eyJ[A-Za-z0-9_-]{15,8000}\.eyJ[A-Za-z0-9_-]{15,16000}\.[A-Za-z0-9_-]{20,1400}={0,2}"),
    Format(
        "private-key",
        ("-----BEGIN ",),
        "-----BEGIN (?:(?:RSA|DSA|EC|OPENSSH|ENCRYPTED|PGP) )?PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){40,16000}"
        "-----END (?:(?:RSA|DSA|EC|OPENSSH|ENCRYPTED|PGP) )?PRIVATE KEY(?: BLOCK)?-----",
    ),
    Format("artifactory-key", ("AKCp",), "AKCp[A-Za-z0-9]{69}"),
    Format("artifactory-token", ("cmVmdGtu",), "cmVmdGtu[A-Za-z0-9]{56}"),
    # Packages, builds and quality
    Format("npm-token", ("npm_",), "npm_[A-Za-z0-9]{36}"),
    Format("pypi-token", ("pypi-AgE",), "pypi-AgE[A-Za-z0-9_-]{50,1000}"),
    Format("rubygems-key", ("rubygems_",), "rubygems_[0-9a-f]{48}"),
    Format("crates-token", ("cio",), "cio[A-Za-z0-9]{32}"),
    Format("docker-token", ("dckr_",), "dckr_[op]at_[A-Za-z0-9_-]{27,32}"),
    Format("circleci-token", ("CCIPAT_", "CCIPRJ_"), "CCIP(?:AT|RJ)_[A-Za-z0-9]{22}_[0-9a-f]{40}"),
    Format("buildkite-token", ("bkua_",), "bkua_[0-9a-f]{40}"),
    Format("sonarqube-token", ("squ_", "sqp_", "sqa_"), "sq[upa]_[0-9a-f]{40}"),
    Format("prefect-key", ("pnu_", "pnb_"), "pn[ub]_[A-Za-z0-9]{36}"),
    Format("infracost-key", ("ico-",), "ico-[A-Za-z0-9]{32}"),
    # Data
    Format("supabase-token", ("sbp_",), "sbp_(?:v0_)?[0-9a-f]{40}"),
    Format("supabase-secret-key", ("sb_secret_",), "sb_secret_[A-Za-z0-9_-]{22}_[A-Za-z0-9_-]{8}"),
    Format("neon-key", ("napi_",), "napi_[a-z0-9]{64}"),
    Format("planetscale-token", ("pscale_",), r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64}"),
    Format("databricks-token", ("dapi",), "dapi[0-9a-f]{32}(?:-[0-9])?"),
    Format("datastax-token", ("AstraCS:",), "AstraCS:[A-Za-z0-9]{24}:[0-9a-f]{64}"),
    Format("airtable-token", ("pat",), r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    Format("contentful-token", ("CFPAT-",), "CFPAT-[A-Za-z0-9_-]{43}"),
    # Work
    Format("notion-token", ("ntn_", "secret_"), "(?:ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43})"),
    Format("linear-key", ("lin_",), "lin_(?:api|oauth)_[A-Za-z0-9]{40,64}"),
    Format("figma-token", ("figd_", "figo_", "figu_"), "fig[dou]_[A-Za-z0-9_-]{40,48}"),
    Format("asana-token", ("1/", "2/"), "(?:1/[0-9]{16}:|2/[0-9]{16}/[0-9]{16}:)[0-9a-f]{32}"),
    Format("clickup-token", ("pk_",), "pk_[0-9]{6,10}_[A-Z0-9]{32}"),
    Format("hubspot-token", ("pat-",), f"pat-(?:na|eu|ap)[0-9]-{_UUID}"),
    Format("postman-key", ("PMAK-",), "PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    Format("typeform-token", ("tfp_",), r"tfp_[A-Za-z0-9_.=-]{59}"),
    Format("readme-key", ("rdme_",), "rdme_[a-z0-9]{70}"),
    # Watching
    Format("sentry-token", ("sntryu_", "sntrys_"), "sntry(?:u_[0-9a-f]{64}|s_eyJ[A-Za-z0-9+/=_-]{80,400})"),
    Format("grafana-token", ("glsa_", "glc_"), "(?:glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2})"),
    Format("newrelic-key", ("NRAK-",), "NRAK-[A-Z0-9]{27}"),
    Format("dynatrace-token", ("dt0c01.", "dt0s01."), r"dt0[cs]01\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    Format("posthog-key", ("phx_",), "phx_[A-Za-z0-9]{43,52}"),
    Format("axiom-token", ("xaat-", "xapt-"), f"xa[ap]t-{_UUID}"),
    # Money, mail and maps
    Format("stripe-key", ("sk_", "rk_"), "[sr]k_(?:live|test|prod)_[A-Za-z0-9]{16,250}"),
    Format("webhook-signing-secret", ("whsec_",), "whsec_[A-Za-z0-9+/]{24,64}={0,2}"),
    Format(
        "square-token", ("EAAA", "sq0"), "(?:EAAA[A-Za-z0-9_-]{60}|sq0(?:atp-[A-Za-z0-9_-]{22}|csp-[A-Za-z0-9_-]{43}))"
    ),
    Format("paypal-token", ("access_token$production$",), r"access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    Format("plaid-token", ("access-",), f"access-(?:sandbox|development|production)-{_UUID}"),
    Format("shopify-token", ("shpat_", "shpca_", "shppa_", "shpss_"), "shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    Format("shippo-token", ("shippo_",), "shippo_(?:live|test)_[0-9a-f]{40}"),
    Format("easypost-key", ("EZAK", "EZTK"), "EZ[AT]K[A-Za-z0-9]{54}"),
    Format("sendgrid-key", ("SG.",), r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    Format("resend-key", ("re_",), "re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    Format("mailgun-key", ("key-",), "key-[0-9a-f]{32}"),
    Format("mailchimp-key", ("-us",), "[0-9a-f]{32}-us[0-9]{1,2}", (32, 32)),
    Format("brevo-key", ("xkeysib-", "xsmtpsib-"), "x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    Format("twilio-key", ("SK",), "SK[0-9a-f]{32}"),
    Format("mapbox-token", ("sk.eyJ",), r"sk\.eyJ[A-Za-z0-9_-]{40,200}\.[A-Za-z0-9_-]{22}"),
    Format("facebook-token", ("EAA",), "EAA(?:CEdEose0cBA|[A-Z])[A-Za-z0-9]{80,300}"),
    Format("adafruit-key", ("aio_",), "aio_[A-Za-z0-9]{28}"),
)


@cache
def compiled(row: Format) -> re.Pattern[str]:
    """A row's pattern, for a token that neither begins nor ends within a longer word."""
    return re.compile(rf"(?<![A-Za-z0-9_-])(?:{row.pattern})(?![A-Za-z0-9_])")


def scan(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and kind of every token in ``text``; those of two formats may overlap."""
    for row in TOKENS:
        if any(mark in text for mark in row.marks):
            for match in compiled(row).finditer(text):
                yield match.start(), match.end(), row.kind
