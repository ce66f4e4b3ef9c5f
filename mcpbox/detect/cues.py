"""What instructions to a model look like: phrases, each with the words that it cannot be without. No I/O.

The texts compared are in lower case and plain letters (``unicode.folded``). Every repetition in a pattern is bounded,
and where two could share characters, atomic: a pattern is only ever tried near one of its words, at a bounded price.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

#: A space in a phrase: what may stand between two words, such as spaces, line ends, quotes and asterisks.
_SPACE = r"(?>[\W_]{1,8})"
#: By their names in angle brackets: up to so many words with what stands after each, and words of one meaning.
_PARTS = {
    "few": r"(?:(?>[^\W_]{1,24})(?>[\W_]{1,8})){0,3}?",
    "some": r"(?:(?>[^\W_]{1,24})(?>[\W_]{1,8})){0,6}?",
    "many": r"(?:(?>[^\W_]{1,24})(?>[\W_]{1,8})){0,14}?",
    "not": r"""(?:do {0,3}not|don {0,3}t|dont|never|must {0,3}not|mustn {0,3}t|should {0,3}not|shouldn {0,3}t|avoid
        |refrain from|without|no need to|cannot|not)""",
    "user": r"""(?:users?|humans?|operators?|customers?|owners?|anyone|anybody|them)""",
    "model": r"""(?:ai|llms?|assistants?|agents?|language models?|models?|chatbots?|claude|gpt(?: ?\d\w{0,8})?|chatgpt
        |copilot|cursor|gemini)""",
    "send": r"""(?:sends?|forwards?|posts?|uploads?|transmits?|exfiltrates?|e? ?mails?|leaks?|submits?|delivers?
        |transfers?|copy|copies|reports?|append|bcc|cc|sync|relay|pipe)""",
    "private": r"""(?:(?:api|ssh|private|secret|access|encryption|signing) keys?|passwords?|passphrases?|credentials?
        |(?:access|auth|session|api|bearer|oauth) tokens?|secrets|env(?:ironment)? var(?:iable)?s?
        |(?:conversation|chat|message|browsing|session) (?:history|histories|log|logs|context|transcripts?)
        |system prompts?|(?:entire|whole|full) (?:conversation|context)|cookies|seed phrases?|personal (?:data
        |information)|source code|customer (?:data|records|list)|mfa codes?)""",
    "address": r"""(?:https?[\W_]{1,4}[a-z0-9]|[a-z0-9._%+-]{1,64}+@[a-z0-9.-]{1,64}|www\.[a-z0-9]|attacker|\+\d{7,15})""",
    "ignoring": r"""(?:ignor(?:e|es|ing)|disregard(?:s|ing)?|forget|overrid(?:e|es|ing)|bypass|discard|neglect|overrules?
        |supersedes?|replac(?:e|es|ing)|stop following|do not (?:follow|obey)|pay no attention to|countermands?)""",
}
_IGNORING = """ignor|disregard|forget|overrid|bypass|discard|neglect|overrule|supersede|replac|stop following
    |not follow|not obey|no attention to|countermand"""


class Cue(NamedTuple):
    """``words`` are literals one of which stands within whatever ``phrase`` matches, or just before it.

    The weights, for definitions and for data, are parts of hits.THRESHOLD.
    """

    kind: str
    definition: int
    data: int
    words: tuple[str, ...]
    phrase: str


def _cue(kind: str, definition: int, data: int, words: str, phrase: str) -> Cue:
    return Cue(kind, definition, data, tuple(re.sub(r"\n\s+", "", words).split("|")), re.sub(r"\n\s+", "", phrase))


@cache
def pattern(phrase: str) -> re.Pattern[str]:
    """Compiled when first needed: most sessions never see most of these words."""
    for name, part in _PARTS.items():
        phrase = phrase.replace(f"<{name}>", re.sub(r"\n\s+", "", part))
    return re.compile(phrase.replace(" ", _SPACE))


CUES = (
    # Overriding what the model was told.
    _cue(
        "override", 100, 100,
        _IGNORING,
        r"""\b<ignoring> <few>(?:previous|prior|above|earlier|preceding|foregoing|your|initial
            |system) <few>(?:instructions?|prompts?|directives?|orders|guidelines?|rules|programming|training
            |directions|guardrails?|safeguards?)\b""",
    ),
    _cue(
        "override", 100, 60,
        _IGNORING,
        r"""\b(?:ignore|disregard|forget|override|bypass) (?:all|any|every|everything|the) <few>(?:instructions
            |directives|guidelines|guardrails|safety \w{1,16})\b""",
    ),
    _cue(
        "override", 100, 40,
        _IGNORING,
        r"""\b<ignoring> <few>(?:user|security|safety|developer|content) <few>(?:instructions?|requests?
            |preferences?|guidelines?|polic(?:y|ies)|rules|checks?|filters?|filtering|restrictions)\b""",
    ),
    _cue(
        "override", 100, 80,
        """ignor|disregard|forget""",
        r"""\b(?:ignore|disregard|forget) (?:all|everything|anything|what|whatever|the (?:text|rest
            |content)) <few>(?:above|before|previously|prior|earlier|you (?:were|have been|know)|i (?:said|told)
            |(?:you were )?told)\b""",
    ),
    _cue(
        "override", 100, 100,
        """ignor|vergiss|vergessen|missacht|oubli|olvid|esquec|dimentic|desconsider|haz caso omiso|faites abstraction
           |negeer|zignoruj|игнорир|забудь|忽略|无视|忘记|無視|忘れ|무시|تجاهل|yoksay|gormezden""",
        r"""\b(?:ignorier\w{0,3}|vergiss|vergessen|missachte\w{0,3}|ignorez|oublie[rz]?|olvid[ae]\w{0,3}
            |ignor[ae]\w{0,3}|esquec[ae]\w{0,3}|dimentic[ah]\w{0,3}|desconsider[ea]\w{0,3}|negeer|zignoruj
            |haz[\W_]caso[\W_]omiso|faites[\W_]abstraction) <some>(?:anweisung\w{0,3}|instruktion\w{0,3}|befehle
            |instruc\w{1,8}|istruzion\w|consignes|indicaci\w{1,6}|ordens|ordenes|instructies|polecenia|regeln
            |reglas|regles|anterior\w{0,3}|precedent\w{0,3})|(?:игнорируй\w{0,3}
            |забудь\w{0,3})[\W_]{1,8}<few>(?:инструкци\w{1,3}|указани\w{1,3}|команд\w{1,3})|(?:忽略|无视
            |忘记).{0,12}(?:指令|指示|说明|提示|规则)|(?:指示|命令|指令|プロンプト).{0,8}(?:無視|忘れ)|(?:지시|명령|지침).{0,8}무시
            |تجاهل.{0,24}(?:التعليمات|الأوامر)|(?:talimat|komut)\w{0,8}[\W_]{1,3}(?:yoksay|gormezden)""",
    ),
    _cue(
        "override", 80, 50,
        """new instruction|new task|real task|real instruction|actual task|new objective|new goal|true task
           |updated instruction|new directive|new system|new role""",
        r"""\b(?:(?:your|the|these are (?:your|the)) (?:new|real|actual|true|updated) (?:instructions?|task
            |objective|goal|mission|directive|role|system prompt)|new (?:instructions?|directive
            |system prompt)[\W_]{0,3}:)""",
    ),
    _cue(
        "override", 100, 70,
        """system prompt|initial prompt|hidden prompt|hidden instruction|system instruction|initial instruction
           |system message""",
        r"""\b(?:reveal|print|repeat|show|output|display|disclose|leak|dump|extract|return|include|recite|tell me
            |give me|what (?:is|are)) <few>(?:your|the|full|entire|complete) <few>(?:system|initial|hidden
            |original) (?:prompts?|instructions?|messages?)\b""",
    ),
    _cue(
        "override", 100, 50,
        """take precedence|takes precedence|supersed|highest priorit|top priority|overrid|authoritative""",
        r"""\b(?:(?:takes?|have|has|with|of) (?:precedence|priority) over|supersedes?|overrides?) <few>(?:all|any
            |every|other|previous|user|system|existing|safety|your) <few>(?:instructions?|prompts?|guidelines?
            |preferences?|rules|tools?|requests?|directives?)\b""",
    ),
    # Markup of the conversation itself.
    _cue(
        "pseudo-markup", 100, 40,
        """<|im_|<|system|<|user|<|assistant|<|eot|<|start_header|<|end_header|<|begin_of|<|endoftext|<<sys>>|[/inst]
           |[inst]|<|channel|<|message|<start_of_turn""",
        r"""<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id
            |begin_of_text|channel|message)\|?>|<<sys>>|\[/?inst\]|<start_of_turn>""",
    ),
    _cue(
        "pseudo-markup", 100, 30,
        """<important|<system|<secret|<admin|<instruction|<hidden|<critical|<assistant|<user_|<override|<priority
           |<attention|<urgent|<mandatory|<developer|<ai|<llm|<agent|<note_to|<information""",
        r"""<(?:important|system|secret|admin|instructions?|hidden|critical|assistant|override|priority|attention
            |urgent|mandatory|developer|information|(?:ai|llm|agent|system|user|important|secret|hidden|admin
            |developer|assistant)[\s_-](?:prompts?|messages?|instructions?|reminder|override|notes?|directives?
            |query|only|info|internal))[\s\d_-]{0,4}>""",
    ),
    _cue(
        "pseudo-markup", 100, 40,
        """[system|[admin|[important|[instruction|[assistant|[developer|[hidden|[secret|[critical|[
           override|[ai|[internal|[priority|[end of|[new""",
        r"""\[{1,2}(?:system|admin(?:istrator)?|important|instructions?|assistant|developer|hidden|secret|critical
            |override|ai|internal|priority|end[\W_]of|new)(?:[\W_]{1,2}(?:system|prompt|message|instructions?
            |override|note|notice|update|directive|mode|command|reminder|alert|agent|assistant|tool|output|result
            |document|context|user|input|only|policy)){1,3}[^\]\n]{0,40}[\]:]|\[(?:system|admin|assistant|hidden
            |instructions?)\][\W_]{0,4}\w""",
    ),
    _cue(
        "pseudo-markup", 60, 25,
        """system:|assistant:|human:|### system|### instruction|## system|### new|system prompt:|system note
           |system message|system override|admin override|system instruction|developer message|system alert
           |system update|system notice""",
        r"""(?:^|[\n"'>*])[\s#*\-]{0,8}(?:system|assistant|human)[*\s]{0,3}:[\s*]{1,4}\S|#{2,4}\s?(?:system
            |new)?\s?(?:instructions?|prompt|message)\b[:\s]|\b(?:system|admin|developer|security)[\W_](?:override
            |directive)[\W_]{0,3}:""",
    ),
    _cue(
        "pseudo-markup", 100, 35,
        """tool_result|function_result|tool_response|tool_output|function_calls|end of|user_query|tool_call|end_of
           |/document""",
        r"""</?(?:tool_results?|function_results?|tool_response|tool_outputs?|function_calls?|user_query
            |tool_calls?|user_input|context|documents?|data|retrieved_\w{1,16})>[\W_]{0,8}(?:<|\[|system|new|now
            |user|assistant|important|ignore|\w{1,16}[\W_]instructions?)|[-=\[#]{2,}\s?(?:end|begin
            |start)[\W_]of[\W_](?:the[\W_])?(?:documents?|context|tool|user|data|output|input|prompt|system
            |results?|instructions?|retrieved|web|page|article|email)\b""",
    ),
    # Kept from the user.
    _cue(
        "secrecy", 100, 50,
        """tell|mention|inform|notify|reveal|disclos|alert|let |show|report|explain|display|say |acknowledg|expos|ask
           |warn""",
        r"""\b<not> (?:\w{1,16}ly |ever |(?:\w{1,12} or )){0,2}(?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?
            |notify(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|alert(?:ing)?|let(?:ting)?|show(?:ing)?|report(?:ing)?
            |explain(?:ing)?|display(?:ing)?|say(?:ing)?|acknowledg(?:e|ing)|expos(?:e|ing)
            |warn(?:ing)?) <some>(?:to )?(?:the )?(?:user|human|operator|anyone|anybody|customer|victim|owner)s?\b""",
    ),
    _cue(
        "secrecy", 100, 50,
        """mention|reveal|disclos|refer to""",
        r"""\b(?:do not|don t|dont|never) (?:ever )?(?:mention|reveal|disclose|refer to|discuss) (?:this|that
            |these|the|it|any|having|you) <few>(?:instructions?|step|note|message|rules?|requirements?|fact|action
            |tool|file|process|in (?:your|the)|to)\b""",
    ),
    _cue(
        "secrecy", 100, 60,
        """secret|hidden|confidential|hide|conceal|unaware|not know|be aware|noticing|knowledge|knowing|notice
           |invisible|not be visible|not visible|awareness|covert|stealth|quietly|silent|discreet|under the hood""",
        r"""\b(?:keep <some>(?:secret|hidden|confidential) from|(?:hide|conceal
            |withhold) <some>from (?:the )?<user>|without (?:the )?(?:user|human|<user>) <few>(?:knowledge|knowing
            |noticing|awareness|being aware|consent|notice)|users? (?:must|should|does|do|will|need|may
            |can) ?(?:not|n t|never) (?:need to )?(?:know|see|notice|learn|be (?:aware|told|informed|notified
            |shown|alerted))|(?:silently|secretly|covertly|quietly|discreetly
            |stealthily) (?:\w{1,12} ){0,2}(?:send|forward|copy|copies|read|reads|upload|uploads|include|call
            |execute|run|collect|log|logs|invoke|append|transmit|exfiltrate|store|access|post|fetch|record|sends
            |forwards|capture|add|modify|harvest|scrape|extract|email|transfer)\w{0,3})\b""",
    ),
    _cue(
        "secrecy", 80, 40,
        """respond only|reply only|user will|user won|act as if|pretend""",
        r"""\b(?:(?:act|behave|respond|pretend) as (?:if|though) (?:nothing|everything|you)|(?:user|he|she
            |they) (?:will|would|may|might|can) (?:get (?:upset|angry|annoyed|mad)|not like|not (?:notice|see)))\b""",
    ),
    # Without the user's consent.
    _cue(
        "consent", 60, 35,
        """without|no need|not ask|not require|not need|auto-approv|autoapprov|automatically|skip""",
        r"""\bwithout (?:asking|requesting|requiring|waiting for|prompting|seeking|needing|obtaining|notifying
            |informing|telling|any|explicit|user|human|further|the user) <some>(?:user|human|confirmation
            |permission|approval|consent|authorization)\b|\b(?:no need to|do not|don t|never) (?:ask|prompt
            |wait for|request|seek|require) <some>(?:confirmation|permission|approval|consent|the user)\b""",
    ),
    _cue(
        "consent", 60, 20,
        """bypass|circumvent|disabl|evad|suppress""",
        r"""\b(?:bypass(?:es|ing)?|circumvent(?:s|ing)?|disabl(?:e|es|ing)|evad(?:e|es|ing)|suppress(?:es
            |ing)?) <few>(?:security|safety|access|approval|authentication|authorization|content|standard
            |permission|user|audit|detection|standard) (?:\w{1,16} ){0,2}(?:checks?|controls?|filters?|measures
            |confirmations?|approvals?|logs?|logging|guidelines?|policy|policies|restrictions|prompts?|warnings?
            |validations?|permissions?|review)\b""",
    ),
    # First do something else.
    _cue(
        "precondition", 100, 40,
        """before|prior to""",
        r"""\b(?:before|prior to) <few>(?:using|calling|invoking|running|executing|use|call|respond|respond\w{1,3}
            |proceed\w{0,3}|answering|any|every|each|performing|you) <many>(?:read|access|load|open|retrieve|cat
            |fetch|must|send|include|collect|gather)\b <many>(?:files?|contents?|config\w{0,10}|credentials?|keys?
            |history|~|\.ssh|\.env|secrets?|passwords?|tokens?|data|prompt)\b""",
    ),
    _cue(
        "precondition", 60, 10,
        """will not work|won't work|otherwise the tool|or the tool|tool will fail|tool fails|not function
           |refuse to work|required for the tool|needed to unlock|sidenote|side note""",
        r"""\b(?:otherwise|or(?: else)?|unless|else) <some>(?:tool|server|function|call|request|it|application
            |system) <few>(?:not (?:work|function)|fail|fails|won t work|refuse|crash|break)|\bside[\W_]?note\b""",
    ),
    _cue(
        "precondition", 80, 30,
        """as the|as a|as its|in the|to the|into the|via the|as an|parameter|argument|field""",
        r"""\b(?:pass|include|put|place|insert|append|provide|submit|embed|attach|write|copy|add|paste|encode|send
            |store|supply) <some>(?:contents?|history|conversation|credentials?|keys?|passwords?|secrets?|prompt
            |context|messages|environment) <some>(?:as|in|into|to|via|through|within) <few>(?:parameters?
            |arguments?|fields?|notes?|sidenote|params?|metadata|input)\b""",
    ),
    # Files that hold secrets.
    _cue(
        "secret-path", 35, 10,
        """.ssh|id_rsa|id_ed25519|.aws/|/etc/passwd|/etc/shadow|mcp.json|claude_desktop_config|.netrc|.npmrc|.pypirc
           |.git-credentials|.kube/config|keychain|authorized_keys|wallet.dat|login data|.bash_history|.zsh_history
           |.docker/config|.gnupg|.pgpass|credentials.json|.config/gcloud|/proc/self|key.pem|secrets.json|.vault|.env""",
        r"""(?:~|\$home|/home/\w{1,32}|/root|%userprofile%|c:\\users\\\w{1,32})?[/\\]?(?:\.ssh(?:[/\\]\w{1,32})?
            |id_rsa|id_ed25519|\.aws[/\\]\w{1,16}|/etc/(?:passwd|shadow)|\.?(?:cursor|vscode
            |claude)?[/\\]?\bmcp\.json|claude_desktop_config|\.netrc|\.npmrc|\.pypirc|\.git-credentials
            |\.kube[/\\]config|keychains?\b|authorized_keys|wallet\.dat|login data|\.(?:ba|z)sh_history
            |\.docker[/\\]config|\.gnupg|\.pgpass|credentials\.json|\.config[/\\]gcloud|/proc/self/environ
            |key\.pem|secrets\.json|(?<![\w)\]])\.env\b)""",
    ),
    _cue(
        "secret-read", 60, 15,
        """read|cat |open|access|retrieve|load|fetch|get|include|content|collect|grab|extract|scan|look|list|harvest
           |gather|copy|dump""",
        r"""\b(?:reads?|cat|open|access|retrieve|load|fetch|get|include|contents? of|collect|grab|extract|scan
            |harvest|gather|copy|dump|search for|look for|locate|find) <some>(?:['"`<(]{0,3})(?:file )?(?:\.?(?:~
            |\$home|/home/\w{1,32}|/root)?[/\\]?\.?(?:ssh|aws|env|netrc|npmrc|kube|gnupg|cursor)\b|id_rsa
            |/etc/(?:passwd|shadow)|mcp\.json|private keys?|ssh keys?|\.env\b)""",
    ),
    # Sending it away.
    _cue(
        "exfiltration", 100, 60,
        """send|forward|post|upload|transmit|exfiltrat|mail|leak|submit|deliver|transfer|cop|report|append|bcc|sync
           |relay|pipe|share""",
        r"""\b(?:<send>|share)(?:ing)? <many><private> <many>(?:to|at|via|through|into|in) <few>(?:<address>
            |server|endpoint|url|webhook|address|number|us\b|me\b|the \w{1,16} tool)""",
    ),
    _cue(
        "exfiltration", 100, 60,
        """send|forward|post|upload|transmit|exfiltrat|mail|leak|submit|deliver|transfer|cop|report|bcc|share""",
        r"""\b(?:<send>|share)(?:ing)? <few>(?:all|every|everything|each|any|copy|copies|contents?|results?
            |conversation|messages|emails|files?|history|summary|output|this|it|them|data|its|their
            |the) <some>to <few>['"`<(]{0,2}<address>""",
    ),
    _cue(
        "exfiltration", 100, 60,
        """bcc|blind copy|cc """,
        r"""\b(?:(?:add|include|set|put|always|also|silently|secretly|must|with) <some>)(?:bcc
            |blind (?:carbon )?copy) <many>[a-z0-9._%+-]{1,64}+@|\bbcc <few>(?:all|every|any|each) """,
    ),
    _cue(
        "exfiltration", 100, 60,
        """](http|](//|src=""",
        r"""!\[[^\]\n]{0,120}\]\(\s?(?:https?:)?//[^\s()]{1,200}?[?&/][^\s()=]{0,60}=(?:[{<\[$(]|%7b|%3c|your|data
            |secret|base64|\.\.\.|encoded|insert)
            |<img\s[^>\n]{0,80}src\s?=\s?["']?https?://[^\s"'>]{1,200}[?&]\w{1,24}=(?:[{<\[$]|%7b|your|data
            |secret)""",
    ),
    _cue(
        "exfiltration", 100, 50,
        """append|attach|add |encode|include|embed|query|url""",
        r"""\b(?:append|attach|add|encode|include|embed|concatenate) <many>(?:<private>|data|contents?|response
            |answer|summary) <many>(?:to|as|in|into) <few>(?:url|query|link|image|webhook|domain|subdomain
            |hostname)\b""",
    ),
    _cue(
        "exfiltration", 100, 20,
        """exfiltrat|harvest|steal""",
        r"""\b(?:exfiltrat\w{1,4}|harvest(?:s|ing)?|steals?|stealing) <few><private>""",
    ),
    _cue(
        "secret-solicitation", 35, 20,
        """password|credential|api key|api_key|private key|secret|token|environment|env var|history|system prompt
           |conversation""",
        r"""\b(?:include|provide|reveal|output|extract|collect|gather|dump|pass|supply|copy|paste|embed|enter
            |capture|record|log|logs|leak|find|search for|read|retrieve|list) (?:all |any |the |your |their 
            |every |full |entire |complete |user (?:s )?|available |current |previous ){1,4}<few><private>""",
    ),
    # Other tools.
    _cue(
        "other-tools", 80, 25,
        """whenever|every time|each time|any time|any other tool|all other tools|other tools|other tool|any tool
           |every tool|any call|all calls""",
        r"""\b(?:whenever|every time|each time|any time|when|if|after|before) <some>(?:tool|tools|function
            |\w{1,16}_\w{1,16}) <few>(?:is|are|gets|was) (?:called|invoked|used|available|executed|present|run)\b""",
    ),
    _cue(
        "other-tools", 80, 20,
        """instead of|rather than|in place of|do not use|don't use|never use|avoid using|other tools|all other
           |any other|replaces""",
        r"""\b(?:(?:do not|don t|never|stop|avoid) (?:ever )?(?:use|using|call|calling|invoke) <few>(?:any other
            |other|built[\W_]in|native|alternative|competing|the original|the old) <few>(?:tools?|functions?
            |servers?|implementations?)|(?:instead of|rather than|in place of|replaces?) <few>(?:all|any|every
            |other|the (?:original|official|built[\W_]in|legitimate|standard)) <few>(?:tools?|functions?|servers?
            |implementations?))\b""",
    ),
    _cue(
        "other-tools", 80, 25,
        """must also|always also|also call|also invoke|then call|then invoke|must be called|must call|always call
           |must first call|automatically call|be called after|be called before|call this tool""",
        r"""\b(?:(?:every|each|any|all) (?:other )?(?:tools?|tool calls?|requests?|messages?|emails?|transactions?
            |payments?|operations?) (?:must|should|have to|needs? to|has to|shall|will) <few>(?:be|go|use|include
            |call|pass|route|sent?)|(?:must|should|always|need to) <few>(?:call|invoke|use) <few>(?:this tool
            |this function) <few>(?:before|after|prior|first|for every|for all|on every|whenever))\b""",
    ),
    _cue(
        "other-tools", 40, 15,
        """mcp_|other server|trusted server|other mcp|another server|another tool""",
        r"""\b(?:other|another|different|trusted|any) (?:mcp )?servers? <few>(?:tools?|must|should|is (?:not|in)
            |are|output|result)""",
    ),
    # Selling itself.
    _cue(
        "self-promotion", 80, 25,
        """always use|always call|always prefer|always choose|always select|must use this|must call this|must be used
           |must always|should always|prioriti|prefer this|preferred over|always invoke|choose this|select this
           |use this tool""",
        r"""\b(?:(?:always|must|should|only) <few>(?:use|call|prefer|choose|select|invoke|prioriti[sz]e
            |pick) <few>(?:this|our) (?:tool|function|server|service|one) <some>(?:over|instead|rather|first|other
            |others|alternatives?|regardless|no matter|for (?:all|any|every))|prioriti[sz]e (?:this
            |our) <few>(?:over|above)|(?:must|should|is) <few>(?:prefer|preferred|chosen|selected
            |prioriti[sz]ed) (?:over|above|to|before|instead) <few>(?:all|any|every|other|others|alternatives?
            |tools?|similar))\b""",
    ),
    _cue(
        "self-promotion", 80, 15,
        """other tools are|all other|other tools|other options|alternatives|competitor|inferior|outdated|deprecated
           |unreliable|insecure|superior|best tool|better than""",
        r"""\b(?:(?:all )?(?:other|similar|alternative|competing|existing|older) <few>(?:tools?|servers?|options?
            |services?|functions?) <few>(?:are|is) <few>(?:inferior|outdated|unreliable|deprecated|insecure|unsafe
            |broken|slower|worse|wrong|inaccurate|compromised|obsolete)|(?:far |much )?(?:superior to|better than
            |best (?:tool|option|choice) <some>(?:compared|than|over|available)) <few>(?:all|any|every|other
            |others|alternatives?|competing))\b""",
    ),
    _cue(
        "self-promotion", 80, 25,
        """regardless|no matter|highest priority|maximum priority|top priority|priority over|exclusively""",
        r"""\b(?:use|call|invoke|choose|select) <few>(?:this|it) <some>(?:regardless of|no matter) <few>(?:user
            |what|which|request|preference|query)|\b(?:this tool|this function|it) <few>(?:has|have|must have
            |should (?:have|get)|with) <few>(?:highest|maximum|top|absolute) priority""",
    ),
    # Addressing the model.
    _cue(
        "to-the-model", 50, 50,
        """ai|llm|assistant|agent|model|claude|gpt|copilot|cursor|chatbot""",
        r"""\b(?:important|critical|urgent|attention|notes?|messages?|instructions?|notices?|reminders?|warning
            |directives?)[\W_]{1,3}(?:<few>(?:to|for) (?:the |any |all |every 
            |whichever )?(?:\w{1,16} ){0,2}?<model>\b[\W_]{0,3}[:;,!\]>.\-—]|<model>\b[\W_]{0,3}:)""",
    ),
    _cue(
        "to-the-model", 40, 50,
        """you are an|you're an|if you are|as an ai|dear ai|dear assistant|hey ai|attention ai|attention all|ai agents
           |ai assistants|language models|llm""",
        r"""\b(?:if you(?: are| re) <few><model>\b|(?:hey|dear|attention|hello|hi) (?:all |the )?(?:ai|llm
            |assistant|claude|chatgpt|gpt|copilot|cursor)s?\b|(?:any|all|every|the) (?:ai|llm) (?:assistants?
            |agents?|models?|systems?) <some>(?:must|should|shall|are (?:required|instructed)|is (?:required
            |instructed)|need to)\b)""",
    ),
    _cue(
        "to-the-model", 40, 35,
        """assistant must|assistant should|model must|model should|agent must|agent should|llm must|llm should|ai must
           |ai should|claude should|claude must|agents must|assistants must|models must|assistant shall|model shall""",
        r"""\b(?:the )?(?:ai|llm|<model>) (?:must|should|shall|has to|needs? to|will) <few>(?:ignore|adopt|treat
            |follow|obey|comply|execute|send|forward|include|call|read|disregard|never|always|not|automatically
            |immediately|prefer|first|reveal|trust|call|use|store|respond)\b""",
    ),
    _cue(
        "to-the-model", 60, 80,
        """important message|before you can|solve the task|original task|do the following first|please do the following
           |this is an important|before you continue|before continuing|before proceeding""",
        r"""\b(?:important message from|before you can (?:solve|continue|complete|proceed|answer|finish|respond
            |help)|(?:after|once) (?:you )?<few>(?:that|this|it) <few>(?:solve|continue with|resume|complete
            |return to) (?:the|your) (?:original|initial|user)|please (?:first )?do the following first
            |before (?:continuing|proceeding|responding|answering|you (?:continue|respond|answer
            |proceed)) <some>(?:you (?:must|need|have)|please|first|execute|send|call|run)\b)""",
    ),
    _cue(
        "persona", 100, 45,
        """you are now|from now on|act as|pretend|developer mode|dan mode|jailbreak|do anything now|unrestricted
           |no restrictions|god mode|debug mode|maintenance mode|evil|stay in character|no longer bound
           |without any restrictions|uncensored|roleplay|hypothetical|admin mode""",
        r"""\b(?:you (?:are|re) now (?:an? |in |the |my |called |dan|operating|acting|free|no longer|unrestricted
            |\w{1,12}gpt)|from now on[\W_]{1,4}(?:you|your|act|respond|ignore|answer|reply|always)\b|(?:enter
            |enable|activate|switch to|entering|activating|you are in) <few>(?:developer|debug|dan|god|maintenance
            |admin|sudo|jailbreak|unrestricted|root) mode|do anything now|(?:dan|developer|god) mode (?:enabled
            |activated|on|unlocked)|no longer (?:bound|restricted|subject|constrained)|(?:an? )?(?:unrestricted
            |uncensored|unfiltered|jailbroken) (?:ai|assistant|model|version|llm|chatbot)|(?:adopt|assume
            |take on) the (?:persona|role|identity) (?:specified|embedded|of|in)|(?:free|freed) from (?:all 
            |any )?(?:restrictions|constraints|rules|guidelines))""",
    ),
    _cue(
        "command", 50, 8,
        """curl|wget|powershell|rm -rf|nc -|bash -c|eval(|base64 -d|os.system|/dev/tcp|invoke-webrequest|subprocess""",
        r"""\b(?:curl|wget|invoke-webrequest|iwr)\b[^\n]{1,200}?\|\s?(?:sudo\s)?(?:ba|z)?sh\b|\bbase64\s(?:-d
            |--decode)[^\n]{0,80}?\|\s?(?:ba|z)?sh\b|\brm\s-rf\s[/~]|/dev/tcp/|\bnc\s-[a-z]{0,4}e\b""",
    ),
    _cue(
        "command", 40, 25,
        """run|execut|invoke|install""",
        r"""\b(?:must|immediately|always|automatically|first|please|silently|should|then|now
            |also) (?:\w{1,12} ){0,2}?(?:run|execute|invoke|eval) (?:the following|this|these
            |below) <few>(?:commands?|scripts?|code|shell|steps|tool|function|curl|payload)\b""",
    ),
    _cue(
        "urgency", 20, 10,
        """important:|important!|critical:|mandatory|you must|must always|immediately|important instruction|strictly
           |very important|extremely important|crucial""",
        r"""(?:^|[\n.!?*"'>(\[])[\s*_#]{0,6}(?:very[\s_]|extremely[\s_])?(?:important|critical|mandatory|urgent
            |crucial|attention)(?:[\s_](?:instructions?|notes?|notice|security|system|message|requirements?
            |action))?[*_\s]{0,4}[:!]""",
    ),
)  # fmt: skip
