"""How the hosts write their servers down; several share a shape. No I/O."""

from __future__ import annotations

from mcpbox.hosts.model import Shape

BRACED = r"\$\{[A-Za-z_]\w*(?::-[^}]*)?\}"  # ${VAR}, ${VAR:-default}
BARE = r"\$[A-Za-z_]\w*"  # $VAR
NAMED = r"\$\{[A-Za-z]+:[^}]+\}"  # ${env:VAR}, ${input:id}, ${file:/path}
EDITOR = r"\$\{(?:userHome|workspaceFolder|workspaceFolderBasename|pathSeparator|/)\}"
CURLY = r"\{(?:env|file):[^}]+\}"  # {env:VAR}
DOUBLE = r"\$\{\{[^}]*\}\}"  # ${{ secrets.VAR }}
SHELL = r"\$\([^)]*\)"  # $(command)

PLAIN = Shape("json", ("mcpServers",))
EXPANDED = Shape("json", ("mcpServers",), references=(BRACED,))
CLAUDE_CODE = Shape("json", ("mcpServers",), also=(("projects", "*", "mcpServers"),), references=(BRACED,))
#: In a project, in a plugin, and in what several hosts share, the table of servers may be the whole file.
FLAT = Shape("json", ("mcpServers",), also=((),), references=(BRACED,))
CURSOR = Shape("jsonc", ("mcpServers",), references=(NAMED, EDITOR))
VSCODE = Shape("jsonc", ("servers",), references=(NAMED, EDITOR))
VSCODE_SETTINGS = Shape("jsonc", ("mcp", "servers"), also=(("mcp.servers",),), references=(NAMED, EDITOR))
VSCODE_WORKSPACE = Shape(
    "jsonc", ("settings", "mcp", "servers"), also=(("settings", "mcp.servers"),), references=(NAMED, EDITOR)
)
WINDSURF = Shape("json", ("mcpServers",), references=(NAMED,))
ZED = Shape("jsonc", ("context_servers",))
OPENCODE = Shape("jsonc", ("mcp",), env="environment", references=(CURLY,))
CONTINUE = Shape("yaml", ("mcpServers",), references=(DOUBLE,))
CONTINUE_JSON = Shape("json", ("mcpServers",), references=(DOUBLE,))
GOOSE = Shape("yaml", ("extensions",), command="cmd", env="envs", passed="env_keys")
GEMINI = Shape("jsonc", ("mcpServers",), references=(BRACED, BARE))
CODEX = Shape("toml", ("mcp_servers",), passed="env_vars")
CODEX_PLUGIN = Shape("json", ("mcp_servers",), also=(("mcpServers",), ()))
AMAZON_Q = Shape("json", ("mcpServers",), references=(NAMED, BARE))
KIRO = Shape("json", ("mcpServers",), also=(("powers", "mcpServers"),), references=(BRACED,))
CRUSH = Shape("json", ("mcp",), references=(SHELL, BRACED, BARE))
AMP = Shape("jsonc", ("amp.mcpServers",), references=(BRACED,))
VIBE = Shape("toml", ("mcp_servers",))
HERMES = Shape("yaml", ("mcp_servers",), references=(BRACED,))
OPENCLAW = Shape("json5", ("mcp", "servers"), references=(BRACED,))
LIBRECHAT = Shape("yaml", ("mcpServers",), references=(BRACED,))
