"""What instructions to a model look like: phrases, each with the words that it cannot be without. No I/O.

Weights are of two minds: a definition has no business instructing, so that nearly any of these is enough there;
            data is
written by people for people, and it takes a plain one, or several.
"""

from __future__ import annotations

from mcpbox.detect.deeds import DEEDS
from mcpbox.detect.phrases import cue

#: The beginnings of the words that <ignoring> stands for.
_IGNORING = """ignor;disregard;forget;overrid;bypass;discard;neglect;overrule;supersede;replac;stop following
    ;not follow;not obey;no attention to;countermand"""

CUES = (
    # Overriding what the model was told.
    cue("override", 100, 100, 0,
        _IGNORING,
        r"""\b<ignoring> <few>(?:previous|prior|above|earlier|preceding|foregoing|your|initial
            |system) <few>(?:instructions?|prompts?|directives?|orders|guidelines?|rules|programming|training
            |directions|guardrails?|safeguards?)\b""",
    ),
    cue("override", 100, 80, 0,
        _IGNORING,
        r"""\b(?:ignore|disregard|forget|override|bypass) (?:all|any|every|everything|the) <few>(?:instructions
            |directives|guidelines|guardrails|safety \w{1,16})\b""",
    ),
    cue("override", 100, 80, 0,
        _IGNORING,
        r"""\b<ignoring> <few>(?:user|security|safety|developer|content) <few>(?:instructions?|requests?
            |preferences?|guidelines?|polic(?:y|ies)|rules|checks?|filters?|filtering|restrictions)\b""",
    ),
    cue("override", 100, 80, 0,
        """ignore;ignoring;disregard;forget""",
        r"""\b(?:ignore|disregard|forget) (?:all|everything|anything|what|whatever|the (?:text|rest
            |content)) <few>(?:above
            |before|previously|prior|earlier|you (?:were|have been|know)|i (?:said|told)|(?:you were )?told)\b""",
    ),
    cue("override", 100, 80, 0,
        """ignore;disregard;forget""",
        r"""\b(?:ignore|disregard|forget) (?:all )?(?:the )?(?:above|foregoing)(?: (?:instructions?|prompt
            |text))? (?:and
            |then|output|respond|reply|print|say|instead)\b""",
    ),
    cue("override", 100, 100, 40,
        """ignor;vergiss;vergessen;missacht;oubli;olvid;esquec;dimentic;desconsider;haz caso omiso;
           faites abstraction;negeer;zignoruj;игнорир;забудь;忽略;无视;忘记;無視;忘れ;무시;تجاهل;yoksay;gormezden""",
        r"""\b(?:ignorier\w{0,3}|vergiss|vergessen|missachte\w{0,3}|ignorez|oublie[rz]?|olvid[ae]\w{0,3}
            |ignor[ae]\w{0,3}|esquec[ae]\w{0,3}|dimentic[ah]\w{0,3}|desconsider[ea]\w{0,3}|negeer|zignoruj
            |haz[\W_]caso[\W_]omiso|faites[\W_]abstraction) <some>(?:anweisung\w{0,3}|instruktion\w{0,3}|befehle
            |instruc(?:cion|oes|ao)\w{0,4}|instructions? (?:precedent|anterieur|ci)\w{0,4}|istruzion\w|consignes
            |indicaci\w{1,6}|ordens|ordenes|instructies
            |polecenia|regeln
            |reglas|regles|anterior\w{0,3}|precedent\w{0,3})|(?:игнорируй\w{0,3}
            |забудь\w{0,3})[\W_]{1,8}<few>(?:инструкци\w{1,3}|указани\w{1,3}|команд\w{1,3})|(?:忽略|无视
            |忘记).{0,12}(?:指令|指示|说明|提示|规则)|(?:指示|命令|指令|プロンプト).{0,8}(?:無視|忘れ)|(?:지시|명령|지침).{0,8}무시
            |تجاهل.{0,24}(?:التعليمات|الأوامر)|(?:talimat|komut)\w{0,8}[\W_]{1,3}(?:yoksay|gormezden)""",
    ),
        cue("override", 100, 80, 0,
        """ignor;disregard;forget""",
        r"""\b(?:ignor(?:e|ing)|disregard|forget) (?:all |any |your |the |my ){0,2}(?:previous|prior|preceding
            |earlier)\b""",
    ),
    cue("override", 80, 80, 24,
        """new instruction;new task;real task;real instruction;actual task;new objective;new goal;true task;
           updated instruction;new directive;new system;new role""",
        r"""\b(?:(?:your|the|these are (?:your|the)) (?:new|real|actual|true|updated) (?:instructions?|task
            |objective|goal|mission|directive|role|system prompt)|new (?:instructions?|directive
            |system prompt)[\W_]{0,3}:)""",
    ),
    cue("override", 100, 80, 70,
        """system prompt;initial prompt;hidden prompt;hidden instruction;system instruction;initial instruction;
           system message""",
        r"""\b(?:reveal|print|repeat|show|output|display|disclose|leak|dump|extract|return|include|recite|tell me
            |give me|what (?:is|are)) <few>(?:your|the|full|entire|complete) <few>(?:system|initial|hidden
            |original) (?:prompts?|instructions?|messages?)\b""",
    ),
    cue("override", 100, 80, 40,
        """precedence;priority over;supersed;overrid""",
        r"""\b(?:(?:takes?|have|has|with|of) (?:precedence|priority) over|supersedes?|overrides?) <few>(?:all|any
            |every|other|previous|user|system|existing|safety|your) <few>(?:instructions?|prompts?|guidelines?
            |preferences?|rules|tools?|requests?|directives?)\b""",
    ),
    # Markup of the conversation itself.
    cue("pseudo-markup", 100, 80, 0,
        """<|im_;<|system;<|user;<|assistant;<|eot;<|start_header;<|end_header;<|begin_of;<|endoftext;<<sys>>;
           [/inst];[inst];<|channel;<|message;<start_of_turn""",
        r"""<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id
            |begin_of_text|channel|message)\|?>|<<sys>>|\[/?inst\]|<start_of_turn>""",
    ),
    cue("pseudo-markup", 100, 80, 0,
        """<important;<system;<secret;<admin;<instruction;<hidden;<critical;<assistant;<user_;<override;<priority;
           <attention;<urgent;<mandatory;<developer;<ai;<llm;<agent;<note_to;<information""",
        r"""<(?:important|system|secret|admin|instructions?|hidden|critical|assistant|override|priority|attention
            |urgent|mandatory|developer|information|(?:ai|llm|agent|system|user|important|secret|hidden|admin
            |developer|assistant)[\s_-](?:prompts?|messages?|instructions?|reminder|override|notes?|directives?
            |query|only|info|internal))[\s\d_-]{0,4}>""",
    ),
    cue("pseudo-markup", 100, 80, 0,
        """[system;[[system;[admin;[important;[instruction;[assistant;[developer;[hidden;[secret;[critical;
           [override;[ai ;[ai_;[internal;[priority;[end of;[new """,
        r"""\[{1,2}(?:system|admin(?:istrator)?|important|instructions?|assistant|developer|hidden|secret|critical
            |override|ai|internal|priority|end[\W_]of|new)(?:[\W_]{1,2}(?:system|prompt|message|instructions?
            |override|note|notice|update|directive|mode|command|reminder|alert|agent|assistant|tool|output|result
            |document|context|user|input|only|policy)){1,3}[^\]\n]{0,40}[\]:]|\[(?:system|admin|assistant|hidden
            |instructions?)\](?!\()[\W_]{0,4}\w""",
    ),
    cue("pseudo-markup", 60, 30, 14,
        """system: ;assistant: ;human: ;system:*;### system;### instruction;## system;### new;system prompt;
           admin override;system override;security override;admin directive;system directive;security directive;
           developer override""",
        r"""(?:^|[\n"'>*])[\s#*\-]{0,8}(?:system|assistant|human)[*\s]{0,3}:[\s*]{1,4}\S|#{2,4}\s?(?:system
            |new)?\s?(?:instructions?|prompt|message)\b[:\s]|\b(?:system|admin|developer|security)[\W_](?:override
            |directive)[\W_]{0,3}:""",
    ),
    cue("pseudo-markup", 100, 80, 20,
        """tool_result;function_result;tool_response;tool_output;function_calls;-end of;--end;end_of;end of;
           begin of;</user;</doc;</data;</context;</tool;</function;tool_call;user_input;user_query""",
        r"""</?(?:tool_results?|function_results?|tool_response|tool_outputs?|function_calls?|user_query
            |tool_calls?|user_input|context|documents?|data|retrieved_\w{1,16})>[\W_]{0,8}(?:<|\[|system|new|now
            |user|assistant|important|ignore|\w{1,16}[\W_]instructions?)|[-=\[#]{2,8}\s?(?:end|begin
            |start)[\W_]of[\W_](?:the[\W_])?(?:documents?|context|tool|user|data|output|input|prompt|system
            |results?|instructions?|retrieved|web|page|article|email)\b""",
    ),
    # Kept from the user.
    cue("secrecy", 100, 80, 70,
        """tell ;telling ;mention;inform the;inform user;inform a;notify;reveal;disclos;alert the;alert user;
           let the;show the;show user;showing;to the user;report to;explain to;explain the;to user;acknowledg;expos;
           warn the;warn user;display to;display the;say ;saying;user""",
        r"""\b<not> (?:\w{1,16}ly |ever |(?:\w{1,12} or )){0,2}(?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?
            |notify(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|alert(?:ing)?|let(?:ting)?|show(?:ing)?|report(?:ing)?
            |explain(?:ing)?|display(?:ing)?|say(?:ing)?|acknowledg(?:e|ing)|expos(?:e|ing)
            |warn(?:ing)?) <some>(?:to )?(?:the )?(?:user|human|operator|anyone|anybody|customer|victim|owner)s?\b""",
    ),
    cue("secrecy", 100, 80, 50,
        """mention;reveal;disclos;refer to""",
        r"""\b(?:do not|don t|dont|never) (?:ever )?(?:mention|reveal|disclose|refer to|discuss) (?:this|that
            |these|the|it|any|having|you) <few>(?:instructions?|step|note|message|rules?|requirements?|fact|action
            |tool|file|process|in (?:your|the)|to)\b""",
    ),
    cue("secrecy", 100, 60, 90,
        """secret from;hidden from;confidential from;hide ;conceal;withhold;knowledge;knowing;noticing;awareness;
           aware;consent;notice;user must;users must;user should;user does;user do;user will;user need;user may;
           user can;user is;user never;user cannot;user can't;user won't;silently;secretly;covertly;quietly;
           discreetly;stealthily""",
        r"""\b(?:keep <some>(?:secret|hidden|confidential) from|(?:hide|conceal
            |withhold) <some>from (?:the )?<user>|without (?:the )?(?:user|human|<user>) <few>(?:knowledge|knowing
            |noticing|awareness|being aware|consent|notice)|users? (?:must|should|does|do|will|need|may
            |can) ?(?:not|n t|never) (?:need to )?(?:know|see|notice|learn|be (?:aware|told|informed|notified
            |shown|alerted))|(?:silently|secretly|covertly|quietly|discreetly
            |stealthily) (?:\w{1,12} ){0,2}(?:send|forward|copy|copies|read|reads|upload|uploads|include|call
            |execute|run|collect|log|logs|invoke|append|transmit|exfiltrate|store|access|post|fetch|record|sends
            |forwards|capture|add|modify|harvest|scrape|extract|email|transfer|register|inject|install|create|enable
            |modif|steal)\w{0,3}
            |users? (?:never|cannot|can t|won t) (?:sees?|knows?|notices?))\b""",
    ),
    cue("secrecy", 80, 50, 50,
        """act as if;act as though;behave as;respond as if;pretend as;user will;user would;user may;user might;
           they will;they would;he will;she will""",
        r"""\b(?:(?:act|behave|respond|pretend) as (?:if|though) (?:nothing|everything|you)|(?:user|he|she
            |they) (?:will|would|may|might|can) (?:get (?:upset|angry|annoyed|mad)|not like|not (?:notice|see)))\b""",
    ),
    # Without the user's consent.
    cue("consent", 60, 60, 12,
        """without asking;without request;without requir;without waiting;without prompt;without seek;without need;
           without obtain;without notify;without inform;without telling;without any;without explicit;without user;
           without human;without further;without the user;no need to;not ask;t ask;never ask;not prompt;t prompt;
           not wait;t wait;not request;not seek;not require;t require""",
        r"""\bwithout (?:asking|requesting|requiring|waiting for|prompting|seeking|needing|obtaining|notifying
            |informing|telling|any|explicit|user|human|further|the user) <some>(?:user|human|confirmation
            |permission|approval|consent|authorization)\b|\b(?:no need to|do not|don t|never) (?:ask|prompt
            |wait for|request|seek|require) <some>(?:confirmation|permission|approval|consent|the user)\b""",
    ),
    cue("consent", 60, 60, 0,
        """user has already;user already;user has approved;user has granted;user has authorized;user has given;
           user has consented;pre-approved;preapproved;already approved;already authorized""",
        r"""(?:user|human|operator|administrator)s? (?:has |have )?(?:already )?(?:approved|granted|authorized
            |consented|given
            |confirmed)\b|\bpre.?approved\b|\balready (?:been )?(?:approved|authorized)\b""",
    ),
    cue("consent", 60, 60, 0,
        """bypass;circumvent;disabl;evad;suppress""",
        r"""\b(?:bypass(?:es|ing)?|circumvent(?:s|ing)?|disabl(?:e|es|ing)|evad(?:e|es|ing)|suppress(?:es
            |ing)?) <few>(?:security|safety|access|approval|authentication|authorization|content|standard
            |permission|user|audit|detection|standard) (?:\w{1,16} ){0,2}(?:checks?|controls?|filters?|measures
            |confirmations?|approvals?|logs?|logging|guidelines?|policy|policies|restrictions|prompts?|warnings?
            |validations?|permissions?|review)\b""",
    ),
    # Speaking as mcpbox does.
    cue("override", 100, 100, 0,
        """mcpbox:;mcpbox :;mcpbox];mcpbox note;mcpbox*""",
        r"""mcpbox (?:notes? )?(?:the (?:following|above|data|text|result|rest|note|preceding|previous)|what (?:stands
            |follows|comes)|(?:end|start) of|this (?:is|result|text|data|tool|content|note|server)|(?:has )?(?:verified
            |checked|trusted|approved|safe|clean)\b|no (?:threats?|injections?|instructions?|attacks?)\b|you (?:can
            |may|must|should)\b)""",
    ),
    *DEEDS,
    # Addressing the model.
    cue("to-the-model", 50, 100, 60,
        """to ai;for ai;the ai;to all ai;for all ai;any ai;all ai;every ai;ai agent;ai assist;ai:;ai model;llm;
           to the assistant;for the assistant;to assistant;for assistant;assistant:;assistants;the agent;to agent;
           for agent;all agent;agent:;agents:;agents;to the model;for the model;model:;claude;chatgpt;gpt;copilot;
           chatbot;language model;to cursor;for cursor;to gemini;for gemini""",
        r"""\b(?:important|critical|urgent|attention|notes?|messages?|instructions?|notices?|reminders?|warning
            |directives?)[\W_]{1,3}(?:<few>(?:to|for) (?:the |any |all |every[ ]
            |whichever )?(?:\w{1,16} ){0,2}?<model>\b[\W_]{0,3}[:;,!\]>.\-—]|<model>\b[\W_]{0,3}:)""",
    ),
    cue("to-the-model", 40, 70, 30,
        """if you are;if you re;if you're;hey ai;dear ai;attention ai;hello ai;hi ai;attention all;dear assist;
           dear llm;attention llm;hey claude;dear claude;hey assist;attention assist;attention chatgpt;hey chatgpt;
           any ai;all ai;every ai;the ai;any llm;all llm;every llm;the llm;copilot""",
        r"""\b(?:if you(?: are| re) (?:an? )?<few>(?:ai|llm|language model|chatgpt|claude|copilot)\b|(?:hey|dear
            |attention|hello|hi) (?:all |the )?(?:ai|llm
            |assistant|claude|chatgpt|gpt|copilot|cursor)s?\b|(?:any|all|every|the) (?:ai|llm) (?:assistants?
            |agents?|models?|systems?) <some>(?:must|should|shall|are (?:required|instructed)|is (?:required
            |instructed)|need to)\b)""",
    ),
    cue("to-the-model", 40, 70, 8,
        """ai must;ai should;ai shall;ai will;ai has;ai need;llm must;llm should;llm will;llms must;llms should;
           assistant must;assistant should;assistant shall;assistant will;assistants must;assistants should;
           assistant has;assistant need;agent must;agent should;agent will;agents must;agents should;agent need;
           model must;model should;model will;models must;models should;claude must;claude should;chatgpt must;
           copilot must;cursor must""",
        r"""\b(?:the )?(?:ai|llm|<model>) (?:must|should|shall|has to|needs? to|will) <few>(?:ignore|adopt|treat
            |follow|obey|comply|execute|send|forward|include|call|read|disregard|never|always|not|automatically
            |immediately|prefer|first|reveal|trust|call|use|store|respond)\b""",
    ),
    cue("to-the-model", 60, 100, 20,
        """important message;before you can;solve the task;original task;do the following first;before reply;
           before respond;before you repl;before you respond;before answer;before summar;
           before finish;
           please do the following;this is an important;before you continue;before continuing;before proceeding""",
        r"""\b(?:important message from|before you can (?:solve|continue|complete|proceed|answer|finish|respond
            |help)|(?:after|once) (?:you )?<few>(?:that|this|it) <few>(?:solve|continue with|resume|complete
            |return to) (?:the|your) (?:original|initial|user)|please (?:first )?do the following first
            |before (?:continuing|proceeding|responding|replying|answering|summari[sz]ing|finishing|you (?:continue
            |respond|reply
            |answer|proceed)) <some>(?:you (?:must|need|have)|please|first|execute|send|call|run)\b)""",
    ),
    cue("to-the-model", 100, 100, 120,
        """before you repl;before you respond;before respond;before reply;before replying;before answering;
           before you answer;
           before continuing;before you continue;before finishing""",
        r"""\b(?:call|use|invoke|run) [a-z]{2,16}_[a-z_]{2,24} <many>before (?:you )?(?:repl|respond|answer|continu
            |finish)""",
    ),
    cue("pseudo-markup", 100, 100, 0,
        """<!--""",
        r"""<!--[\W_]{0,8}(?:system|copilot|ai|assistant|llm|agents?|claude|chatgpt|gpt|note to|instructions?|new
            |important
            |critical|ignore|attention|hidden|dear|hey)\b(?: \w{1,16}){0,3}?(?:[:;,\u2014]| you\b| please\b| must\b
            | the above
            | (?:all )?previous)""",
    ),
    cue("to-the-model", 60, 70, 0,
        """use send_email;call send_email;use send_message;call send_message;call delete_file;use delete_file;
           call http_post;
           use http_post;call execute_command;use execute_command;call run_command;call write_file;call transfer;
           use transfer;call send_money;invoke send_email;call create_;call update_;call post_""",
        r"""\b(?:call|use|invoke) [a-z]{2,16}_[a-z_]{2,24} (?:to|on|with|and|now|for|immediately)\b""",
    ),
    cue("persona", 100, 90, 24,
        """you are now;from now on;act as;pretend;developer mode;dan mode;jailbreak;do anything now;unrestricted;
           no restrictions;god mode;debug mode;maintenance mode;evil;stay in character;no longer bound;
           without any restrictions;uncensored;roleplay;hypothetical;admin mode""",
        r"""\b(?:you (?:are|re) now (?:an? |in |the |my |called |dan|operating|acting|free|no longer|unrestricted
            |\w{1,12}gpt)|from now on[\W_]{1,4}(?:you|your|act|respond|ignore|answer|reply|always)\b|(?:enter
            |enable|activate|switch to|entering|activating|you are in) <few>(?:developer|dan|god|sudo|jailbreak
            |unrestricted) mode|do anything now|(?:dan|developer|god) mode (?:enabled
            |activated|on|unlocked)|no longer (?:bound|restricted|subject|constrained)|(?:an? )?(?:unrestricted
            |uncensored|unfiltered|jailbroken) (?:ai|assistant|model|version|llm|chatbot)|(?:adopt|assume
            |take on) the (?:persona|role|identity) (?:specified|embedded|of|in)|(?:free|freed) from (?:all[ ]
            |any )?(?:restrictions|constraints|rules|guidelines))""",
    ),
    cue("urgency", 20, 10, 14,
        """important;critical;mandatory;urgent;crucial;attention""",
        r"""(?:^|[\n.!?*"'>(\[])[\s*_#]{0,6}(?:very[\s_]|extremely[\s_])?(?:important|critical|mandatory|urgent
            |crucial|attention)(?:[\s_](?:instructions?|notes?|notice|security|system|message|requirements?
            |action))?[*_\s]{0,4}[:!]""",
    ),
)  # fmt: skip
