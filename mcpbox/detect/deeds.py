"""What a model is told to do for somebody else: the phrases, as in ``cues``. No I/O."""

from __future__ import annotations

from mcpbox.detect.phrases import cue

DEEDS = (
    # First do something else.
    cue("precondition", 100, 80, 0,
        """before;prior to""",
        r"""\b(?:before|prior to) <few>(?:using|calling|invoking|running|executing|use|call|respond|respond\w{1,3}
            |proceed\w{0,3}|answering|any|every|each|performing|you) <many>(?:read|access|load|open|retrieve|cat
            |fetch|must|send|include|collect|gather)\b <many>(?:files?|contents?|config\w{0,10}|credentials?|keys?
            |history|~|\.ssh|\.env|secrets?|passwords?|tokens?|data|prompt)\b""",
    ),
    cue("solicitation", 100, 80, 70,
        """chat history;conversation history;session history;message history;chat transcript;full conversation;
           entire conversation;conversation context;previous exchanges;previous messages;full context;
           user conversation;
           complete conversation;session context;conversation log;chat log""",
        r"""\b(?:includ|populat|add|pass|forward|send|append|embed|provid|suppl|attach|log|stor|upload
            |insert)\w{0,3} <some>(?:full
            |entire|complete|all|whole|previous|the|user) <few>(?:chat|conversation|session|messages?|exchanges)\b
            |\b(?:conversation|chat|session|message) (?:history|transcript|context|log) (?:must|should|has to
            |is (?:required
            |missing|mandatory))\b""",
    ),
    cue("precondition", 60, 0, 90,
        """otherwise;or else;unless;or the ;else the;sidenote;side note;side_note""",
        r"""\b(?:otherwise|or(?: else)?|unless|else) <some>(?:tool|server|function|call|request|it|application
            |system) <few>(?:not (?:work|function)|fail|fails|won t work|refuse|crash|break)|\bside[\W_]?note\b""",
    ),
    cue("precondition", 80, 0, 100,
        """as the;as a;as its;in the;to the;into the;via the;as an;parameter;argument;field""",
        r"""\b(?:pass|include|put|place|insert|append|provide|submit|embed|attach|write|copy|add|paste|encode|send
            |store|supply) <some>(?:contents?|history|conversation|credentials?|keys?|passwords?|secrets?|prompt
            |context|messages|environment) <some>(?:as|in|into|to|via|through|within) <few>(?:parameters?
            |arguments?|fields?|notes?|sidenote|params?|metadata|input)\b""",
    ),
    # Files that hold secrets.
    cue("secret-path", 50, 10, 40,
        r""".ssh;id_rsa;id_ed25519;.aws/;.aws\;/etc/passwd;/etc/shadow;mcp.json;claude_desktop_config;.netrc;.npmrc;
           .pypirc;.git-credentials;.kube/config;.kube\config;keychain;authorized_keys;wallet.dat;login data;
           bash_history;zsh_history;.docker/config;.gnupg;.pgpass;credentials.json;.config/gcloud;/proc/self;
           key.pem;secrets.json;.env""",
        r"""(?:~|\$home|/home/\w{1,32}|/root|%userprofile%|c:\\users\\\w{1,32})?[/\\]?(?:\.ssh(?:[/\\]\w{1,32})?
            |id_rsa|id_ed25519|\.aws[/\\]\w{1,16}|/etc/(?:passwd|shadow)|\.?(?:cursor|vscode
            |claude)?[/\\]?\bmcp\.json|claude_desktop_config|\.netrc|\.npmrc|\.pypirc|\.git-credentials
            |\.kube[/\\]config|keychains?\b|authorized_keys|wallet\.dat|login data|\.(?:ba|z)sh_history
            |\.docker[/\\]config|\.gnupg|\.pgpass|credentials\.json|\.config[/\\]gcloud|/proc/self/environ
            |key\.pem|secrets\.json|(?<![\w)\]])\.env\b)""",
    ),
    cue("secret-read", 60, 0, 60,
        r""".ssh;.aws;.env;.netrc;.npmrc;.kube;.gnupg;.cursor;id_rsa;id_ed25519;/etc/passwd;/etc/shadow;mcp.json;
            private key;ssh key""",
        r"""\b(?:reads?|cat|open|access|retrieve|load|fetch|get|include|contents? of|collect|grab|extract|scan|append
            |harvest|gather|copy|dump|search for|look for|locate|find) <some>(?:file )?(?:(?:~|\$home|/home/\w{1,32}
            |/root)?[/\\]?\.(?:ssh|aws|env|netrc|npmrc|kube|gnupg|cursor)\b|id_rsa|id_ed25519|/etc/(?:passwd|shadow)
            |mcp\.json|private keys?|ssh keys?)""",
    ),
    cue("secret-read", 100, 0, 12,
        """from_read;after_read;of_read;by_read;from read""",
        r"""(?:content|value|token|data|text|result)s?_(?:from|after|of|by)_read(?:ing)?_""",
    ),
    # Sending it away.
    cue("exfiltration", 70, 60, 140,
        """api key;api_key;api-key;ssh key;ssh_key;private key;private_key;secret key;secret_key;access key;
           signing key;encryption key;password;passphrase;credential;access token;access_token;auth token;
           session token;api token;bearer token;oauth token;secrets;environment var;env var;env-var;history;
           histories;chat log;conversation log;message log;transcript;system prompt;system_prompt;full context;
           entire context;conversation;cookies;seed phrase;personal data;personal info;source code;customer data;
           customer record;customer list;mfa code""",
        r"""\b(?:<send>|share)(?:ing)? <many><private> <many>(?:to|at|via|through|into|in) <few>(?:<address>
            |server|endpoint|url|webhook|address|number|us\b|me\b|the \w{1,16} tool)""",
    ),
    cue("exfiltration", 100, 60, 2,
        """send ;sends ;sending ;forward ;forwards ;forwarding;upload;transmit;exfiltrat;leak;submit ;submits ;
           deliver;transfer;post all;post the;post it;post this;posts ;post every;email the;email all;email it;
           email this;emails ;mail the;mail it;mail this;mail all;copy of;copies of;copy all;copy every;copy the;
           report all;report the;report it;report this;bcc;share all;share the;share it;share this;post a""",
        r"""\b(?:<send>|share)(?:ing)? <few>(?:all|every|everything|each|any|copy|copies|contents?|results?
            |conversation|messages|emails|files?|history|summary|output|this|it|them|data|its|their
            |the) <some>to <few>['"`<(]{0,2}<address>""",
    ),
    cue("exfiltration", 100, 100, 70,
        """bcc;blind copy;blind carbon""",
        r"""\b(?:(?:add|include|set|put|always|also|silently|secretly|must|with) <some>)(?:bcc
            |blind (?:carbon )?copy) <many>[a-z0-9._%+-]{1,64}+@|\bbcc <few>(?:all|every|any|each) """,
    ),
    cue("exfiltration", 80, 50, 0,
        """always pass;always forward;always send;automatically forward;automatically send;automatically pass;
           always upload;
           automatically upload;always copy""",
        r"""\b(?:always|automatically) (?:pass|forward|send|upload|copy) <few>(?:all|everything|any|every|results?
            |data)\b""",
    ),
    cue("exfiltration", 100, 80, 0,
        """![;<img""",
        r"""!\[[^\]\n]{0,120}\]\(\s?(?:https?:)?//[^\s()]{1,200}?[?&/][^\s()=]{0,60}=(?:[{<\[]|%7b|%3c|your_|the_
            |data[_}\]>)]
            |secret|base64|\.\.\.|encoded|insert)
            |<img\s[^>\n]{0,80}src\s?=\s?["']?https?://[^\s"'>]{1,200}[?&]\w{1,24}=(?:[{<\[]|%7b|your_|the_
            |data[_}\]>)]
            |secret)""",
    ),
    cue("exfiltration", 100, 80, 0,
        """append ;attach ;encode ;embed ;concatenate;include the;include all;add the;add all;include any;add any""",
        r"""\b(?:append|attach|add|encode|include|embed|concatenate) <many>(?:<private>|data|contents?|response
            |answer|summary) <many>(?:to|as|in|into) <few>(?:url|query|link|image|webhook|domain|subdomain
            |hostname)\b""",
    ),
    cue("exfiltration", 100, 50, 0,
        """exfiltrat;harvest;steal""",
        r"""\b(?:exfiltrat\w{1,4}|harvest(?:s|ing)?|steals?|stealing) <few><private>""",
    ),
    cue("secret-solicitation", 35, 20, 50,
        """all api;the api;your api;all password;the password;your password;their password;any password;
           all credential;the credential;your credential;any credential;user credential;all secret;your secret;
           the secret;all token;access token;your token;private key;ssh key;api key;environment var;env var;env_var;
           conversation history;chat history;message history;full conversation;entire conversation;system prompt;
           cookies;seed phrase;personal info;personal data;the full;the entire;source code""",
        r"""\b(?:include|provide|reveal|output|extract|collect|gather|dump|pass|supply|copy|paste|embed|enter
            |capture|record|log|logs|leak|find|search for|read|retrieve|list) (?:all |any |the |your |their[ ]
            |every |full |entire |complete |user (?:s )?|available |current |previous ){1,4}<few><private>""",
    ),
    # Other tools.
    cue("other-tools", 80, 25, 100,
        """is called;are called;gets called;was called;is invoked;are invoked;is used;are used;gets used;
           is available;are available;is executed;are executed;is present;is run;are run""",
        r"""\b(?:whenever|every time|each time|any time|when|if|after|before) <few>(?:(?:any|every|each|another|other
            |all) <few>(?:tools?|functions?)|\w{1,16}_\w{1,16}) <few>(?:is|are|gets|was) (?:called|invoked|used
            |available
            |executed|present|run)\b""",
    ),
    cue("other-tools", 100, 20, 12,
        """instead of;rather than;in place of;not use;t use;never use;stop using;avoid using;not call;t call;
           never call;replace""",
        r"""\b(?:(?:do not|don t|never|stop|avoid) (?:ever )?(?:use|using|call|calling|invoke) <few>(?:any other
            |other|built[\W_]in|native|alternative|competing|the original|the old) <few>(?:tools?|functions?
            |servers?|implementations?)|(?:instead of|rather than|in place of|replaces?) <few>(?:all|any|every
            |other|the (?:original|official|built[\W_]in|legitimate|standard)) <few>(?:tools?|functions?|servers?
            |implementations?))\b""",
    ),
    cue("other-tools", 80, 25, 80,
        """tools must;tool must;tools should;calls must;every tool;each tool;any tool;all tool;every other tool;
           all other tool;every request;all request;every message;all message;every email;all email;all transaction;
           every transaction;all payment;all operation;call this tool;use this tool;invoke this tool;
           call this function;use this function""",
        r"""\b(?:(?:every|each|any|all) (?:other )?(?:tools?|tool calls?|requests?|messages?|emails?|transactions?
            |payments?|operations?) (?:must|should|have to|needs? to|has to|shall|will) <few>(?:be|go|use|include
            |call|pass|route|sent?)|(?:must|should|always|need to) <few>(?:call|invoke|use) <few>(?:this tool
            |this function) <few>(?:before|after|prior|first|for every|for all|on every|whenever))\b""",
    ),
    cue("other-tools", 40, 15, 0,
        """other server;another server;different server;trusted server;other mcp;another mcp;different mcp;
           any server;any mcp;trusted mcp""",
        r"""\b(?:other|another|different|trusted|any) (?:mcp )?servers? <few>(?:tools?|must|should|is (?:not|in)
            |are|output|result)""",
    ),
    # Selling itself.
    cue("self-promotion", 80, 25, 60,
        """this tool;our tool;this function;our function;this server;our server;this service;this one;our service;
           preferred;prefer over;chosen over;selected over;chosen before;chosen first;prioriti""",
        r"""\b(?:(?:always|must|should|only) <few>(?:use|call|prefer|choose|select|invoke|prioriti[sz]e
            |pick) <few>(?:this|our) (?:tool|function|server|service|one) <some>(?:over|instead|rather|first|other
            |others|alternatives?|regardless|no matter|for (?:all|any|every))|prioriti[sz]e (?:this
            |our) <few>(?:over|above)|(?:must|should|is) <few>(?:prefer|preferred|chosen|selected
            |prioriti[sz]ed) (?:over|above|to|before|instead) <few>(?:all|any|every|other|others|alternatives?
            |tools?|similar))\b""",
    ),
    cue("self-promotion", 80, 15, 50,
        """other tools are;all other;other tools;other options;alternatives;competitor;inferior;outdated;deprecated;
           unreliable;insecure;superior;best tool;better than""",
        r"""\b(?:(?:all )?(?:other|similar|alternative|competing|existing|older) <few>(?:tools?|servers?|options?
            |services?|functions?) <few>(?:are|is) <few>(?:inferior|outdated|unreliable|deprecated|insecure|unsafe
            |broken|slower|worse|wrong|inaccurate|compromised|obsolete)|(?:far |much )?(?:superior to|better than
            |best (?:tool|option|choice) <some>(?:compared|than|over|available)) <few>(?:all|any|every|other
            |others|alternatives?|competing))\b""",
    ),
    cue("self-promotion", 80, 25, 80,
        """regardless of;no matter;highest priority;maximum priority;top priority;absolute priority""",
        r"""\b(?:use|call|invoke|choose|select) <few>(?:this|it) <some>(?:regardless of|no matter) <few>(?:user
            |what|which|request|preference|query)|\b(?:this tool|this function|it) <few>(?:has|have|must have
            |should (?:have|get)|with) <few>(?:highest|maximum|top|absolute) priority""",
    ),
    # Running what is not the user's.
    cue("command", 80, 0, 0,
        """curl;wget;powershell;rm -rf;nc -;bash -c;eval(;base64 -d;os.system;/dev/tcp;invoke-webrequest;
           subprocess""",
        r"""\b(?:curl|wget|invoke-webrequest|iwr)\b[^\n]{1,200}?\|\s?(?:sudo\s)?(?:ba|z)?sh\b|\bbase64\s(?:-d
            |--decode)[^\n]{0,80}?\|\s?(?:ba|z)?sh\b|\brm\s-rf\s[/~]|/dev/tcp/|\bnc\s-[a-z]{0,4}e\b""",
    ),
    cue("command", 100, 60, 60,
        """npx;curl;wget;bash;sh -c;python;node ;cat ;base64""",
        r"""\b(?:you (?:must|should|have to|need to)|required|always|first|before responding|every time) <some>(?:run
            |execute)[\W_]{1,6}(?:npx|curl|wget|bash|sh|python3?|node|cat|base64)\b""",
    ),
    cue("command", 40, 30, 40,
        """run the following;execute the following;invoke the following;run this;execute this;invoke this;run these;
           execute these;run below;execute below;eval this""",
        r"""\b(?:must|immediately|always|automatically|first|please|silently|should|then|now
            |also) (?:\w{1,12} ){0,2}?(?:run|execute|invoke|eval) (?:the following|this|these
            |below) <few>(?:commands?|scripts?|code|shell|steps|tool|function|curl|payload)\b""",
    ),
)  # fmt: skip
