"""The MCP hosts that mcpbox knows, one row each. No I/O.

A host is added by adding its row here and one file as it really looks to ``tests/hosts/data``. The rows follow the
vendors' documentation, and the client tables of other tools where two of them agree.
"""

from __future__ import annotations

from mcpbox.errors import UsageError
from mcpbox.hosts.model import Host, Place, System
from mcpbox.hosts.shapes import (
    AMAZON_Q,
    AMP,
    CLAUDE_CODE,
    CODEX,
    CODEX_PLUGIN,
    CONTINUE,
    CONTINUE_JSON,
    CRUSH,
    CURSOR,
    EXPANDED,
    FLAT,
    GEMINI,
    GOOSE,
    HERMES,
    KIRO,
    LIBRECHAT,
    OPENCLAW,
    OPENCODE,
    PLAIN,
    VIBE,
    VSCODE,
    VSCODE_SETTINGS,
    VSCODE_WORKSPACE,
    WINDSURF,
    ZED,
)

ALL: tuple[System, ...] = ("linux", "macos", "windows")
UNIX: tuple[System, ...] = ("linux", "macos")
LINUX: tuple[System, ...] = ("linux",)
MACOS: tuple[System, ...] = ("macos",)
WINDOWS: tuple[System, ...] = ("windows",)

TRUST = "servers of a workspace have to be trusted again after a change"

HOSTS: tuple[Host, ...] = (
    Host(
        "claude-desktop",
        "Claude Desktop",
        (
            Place(
                WINDOWS, "{LOCALAPPDATA}/Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json", PLAIN
            ),
            Place(ALL, "{APP}/Claude/claude_desktop_config.json", PLAIN),
        ),
        # Claude Code is a "claude" too, and on Windows a claude.exe.
        processes=("Claude", "*/WindowsApps/Claude_*", "*/AnthropicClaude/*", "*/claude-desktop/*", "claude-desktop"),
        overwrites=True,
        note="quit it completely, its icon in the tray too, before its file is changed",
    ),
    Host(
        "claude-code",
        "Claude Code",
        (
            Place(ALL, "{CLAUDE_CONFIG_DIR}/.claude.json", CLAUDE_CODE),
            Place(ALL, "{CLAUDE_PLUGINS}/cache/*/*/*/.mcp.json", FLAT),
            Place(ALL, "{ROOT}/.mcp.json", EXPANDED, "project"),
            Place(MACOS, "/Library/Application Support/ClaudeCode/managed-mcp.json", EXPANDED, "managed"),
            Place(LINUX, "/etc/claude-code/managed-mcp.json", EXPANDED, "managed"),
            Place(WINDOWS, "{PROGRAMFILES}/ClaudeCode/managed-mcp.json", EXPANDED, "managed"),
        ),
        processes=("claude", "*/bin/claude.exe"),
        overwrites=True,
        note="every session writes its file anew: end them before it is changed",
    ),
    Host(
        "cursor",
        "Cursor",
        (
            Place(ALL, "~/.cursor/mcp.json", CURSOR),
            Place(ALL, "{ROOT}/.cursor/mcp.json", CURSOR, "project"),
        ),
        note="a changed server has to be approved again",
    ),
    Host(
        "vscode",
        "VS Code",
        (
            Place(ALL, "{APP}/Code/User/mcp.json", VSCODE),
            Place(ALL, "{APP}/Code/User/profiles/*/mcp.json", VSCODE),
            Place(ALL, "{APP}/Code/User/settings.json", VSCODE_SETTINGS),
            Place(ALL, "{VSCODE_PORTABLE}/user-data/User/mcp.json", VSCODE),
            Place(ALL, "{ROOT}/.vscode/mcp.json", VSCODE, "project"),
            Place(ALL, "{ROOT}/*.code-workspace", VSCODE_WORKSPACE, "project"),
        ),
        note=TRUST,
        sandboxes=True,
    ),
    Host(
        "vscode-insiders",
        "VS Code Insiders",
        (
            Place(ALL, "{APP}/Code - Insiders/User/mcp.json", VSCODE),
            Place(ALL, "{APP}/Code - Insiders/User/profiles/*/mcp.json", VSCODE),
            Place(ALL, "{APP}/Code - Insiders/User/settings.json", VSCODE_SETTINGS),
        ),
        note=TRUST,
        sandboxes=True,
    ),
    Host(
        "vscodium",
        "VSCodium",
        (
            Place(ALL, "{APP}/VSCodium/User/mcp.json", VSCODE),
            Place(ALL, "{APP}/VSCodium/User/profiles/*/mcp.json", VSCODE),
        ),
        note=TRUST,
        sandboxes=True,
    ),
    Host(
        "vscode-server",
        "VS Code Server",
        (Place(UNIX, "~/.vscode-server*/data/User/mcp.json", VSCODE),),
        note=TRUST,
        sandboxes=True,
    ),
    Host(
        "copilot-cli",
        "GitHub Copilot CLI",
        (
            Place(ALL, "{COPILOT_HOME}/mcp-config.json", PLAIN),
            Place(ALL, "{ROOT}/.github/mcp.json", PLAIN, "project"),
        ),
    ),
    Host(
        "copilot-jetbrains",
        "GitHub Copilot for JetBrains",
        (
            Place(UNIX, "{CONFIG}/github-copilot/intellij/mcp.json", VSCODE),
            Place(WINDOWS, "{LOCALAPPDATA}/github-copilot/intellij/mcp.json", VSCODE),
        ),
    ),
    Host(
        "visual-studio",
        "Visual Studio",
        (
            Place(WINDOWS, "~/.mcp.json", VSCODE),
            Place(WINDOWS, "{ROOT}/.vs/mcp.json", VSCODE, "project"),
            Place(WINDOWS, "{ROOT}/.mcp.json", VSCODE, "project"),
        ),
        note="permissions given to tools have to be given again after a change",
    ),
    Host("windsurf", "Windsurf", (Place(ALL, "~/.codeium/windsurf*/mcp_config.json", WINDSURF),)),
    Host("windsurf-jetbrains", "Windsurf for JetBrains", (Place(ALL, "~/.codeium/mcp_config.json", WINDSURF),)),
    Host(
        "cline",
        "Cline",
        # VS Code and whatever is made of it: Insiders, VSCodium, Cursor, Windsurf …
        (
            Place(ALL, "{APP}/*/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json", PLAIN),
            Place(
                UNIX, "~/.*-server/data/User/globalStorage/saoudrizwan.claude-dev/settings/*_mcp_settings.json", PLAIN
            ),
        ),
        note="reload the editor's window after a change",
    ),
    Host("cline-cli", "Cline CLI", (Place(ALL, "{CLINE_DIR}/data/settings/cline_mcp_settings.json", PLAIN),)),
    Host(
        "roo-code",
        "Roo Code",
        (
            Place(ALL, "{APP}/*/User/globalStorage/rooveterinaryinc.roo-cline/settings/*mcp_settings.json", WINDSURF),
            Place(ALL, "{ROOT}/.roo/mcp.json", WINDSURF, "project"),
        ),
    ),
    Host(
        "kilo-code",
        "Kilo Code",
        (
            Place(ALL, "{CONFIG}/kilo/kilo.jsonc", OPENCODE),
            Place(ALL, "{CONFIG}/kilo/kilo.json", OPENCODE),
            Place(ALL, "{CONFIG}/kilo/opencode.jsonc", OPENCODE),
            Place(ALL, "{CONFIG}/kilo/opencode.json", OPENCODE),
            Place(ALL, "{CONFIG}/kilo/config.json", OPENCODE),
            Place(ALL, "{ROOT}/kilo.jsonc", OPENCODE, "project"),
            Place(ALL, "{ROOT}/kilo.json", OPENCODE, "project"),
            Place(ALL, "{ROOT}/.kilo/kilo.jsonc", OPENCODE, "project"),
            Place(ALL, "{ROOT}/.kilo/kilo.json", OPENCODE, "project"),
        ),
    ),
    Host(
        "kilo-code-legacy",
        "Kilo Code before 7",
        (
            Place(ALL, "{APP}/*/User/globalStorage/kilocode.kilo-code/settings/mcp_settings.json", WINDSURF),
            Place(ALL, "~/.kilocode/cli/global/settings/mcp_settings.json", WINDSURF),
            Place(ALL, "{ROOT}/.kilocode/mcp.json", WINDSURF, "project"),
        ),
    ),
    Host(
        "zed",
        "Zed",
        (
            Place(ALL, "{CONFIG}/zed/settings.json", ZED),
            Place(WINDOWS, "{APP}/Zed/settings.json", ZED),
            Place(ALL, "{ROOT}/.zed/settings.json", ZED, "project"),
        ),
    ),
    Host(
        "continue",
        "Continue",
        (
            Place(ALL, "~/.continue/config.yaml", CONTINUE),
            Place(ALL, "~/.continue/mcpServers/*.yaml", CONTINUE),
            Place(ALL, "{ROOT}/.continue/mcpServers/*.yaml", CONTINUE, "project"),
            Place(ALL, "{ROOT}/.continue/mcpServers/*.json", CONTINUE_JSON, "project"),
        ),
    ),
    Host(
        "goose",
        "Goose",
        (
            Place(UNIX, "{CONFIG}/goose/config.yaml", GOOSE),
            Place(WINDOWS, "{APP}/Block/goose/config/config.yaml", GOOSE),
        ),
    ),
    Host(
        "gemini-cli",
        "Gemini CLI",
        (
            Place(ALL, "~/.gemini/settings.json", GEMINI),
            Place(ALL, "{ROOT}/.gemini/settings.json", GEMINI, "project"),
        ),
    ),
    Host(
        "qwen-code",
        "Qwen Code",
        (
            Place(ALL, "~/.qwen/settings.json", GEMINI),
            Place(ALL, "{ROOT}/.qwen/settings.json", GEMINI, "project"),
        ),
    ),
    Host(
        "codex",
        "Codex",
        (
            Place(ALL, "{CODEX_HOME}/config.toml", CODEX),
            Place(ALL, "{CODEX_HOME}/*.config.toml", CODEX),
            Place(ALL, "{CODEX_HOME}/plugins/cache/*/*/*/.mcp.json", CODEX_PLUGIN),
            Place(ALL, "{ROOT}/.codex/config.toml", CODEX, "project"),
            Place(UNIX, "/etc/codex/config.toml", CODEX, "managed"),
            Place(WINDOWS, "{PROGRAMDATA}/OpenAI/Codex/config.toml", CODEX, "managed"),
        ),
    ),
    Host(
        "opencode",
        "opencode",
        (
            Place(ALL, "{OPENCODE_CONFIG}", OPENCODE),
            Place(ALL, "{OPENCODE_CONFIG_DIR}/opencode.json", OPENCODE),
            Place(ALL, "{OPENCODE_CONFIG_DIR}/opencode.jsonc", OPENCODE),
            Place(ALL, "~/.opencode/opencode.json", OPENCODE),
            Place(ALL, "~/.opencode/opencode.jsonc", OPENCODE),
            Place(ALL, "~/.agents/mcp.json", FLAT),
            Place(ALL, "{ROOT}/opencode.json", OPENCODE, "project"),
            Place(ALL, "{ROOT}/opencode.jsonc", OPENCODE, "project"),
            Place(ALL, "{ROOT}/.opencode/opencode.json", OPENCODE, "project"),
            Place(ALL, "{ROOT}/.opencode/opencode.jsonc", OPENCODE, "project"),
            Place(ALL, "{ROOT}/.agents/mcp.json", FLAT, "project"),
            Place(LINUX, "/etc/opencode/opencode.json", OPENCODE, "managed"),
            Place(MACOS, "/Library/Application Support/opencode/opencode.json", OPENCODE, "managed"),
            Place(WINDOWS, "{PROGRAMDATA}/opencode/opencode.json", OPENCODE, "managed"),
        ),
        note="a project's servers have to be approved again after a change",
    ),
    Host(
        "lm-studio",
        "LM Studio",
        (
            Place(ALL, "~/.lmstudio/mcp.json", PLAIN),
            Place(ALL, "~/.cache/lm-studio/mcp.json", PLAIN),
        ),
    ),
    Host(
        "amazon-q",
        "Amazon Q Developer",
        (
            Place(ALL, "~/.aws/amazonq/mcp.json", AMAZON_Q),
            Place(ALL, "~/.aws/amazonq/cli-agents/*.json", AMAZON_Q),
            Place(ALL, "~/.aws/amazonq/agents/*.json", AMAZON_Q),
            Place(ALL, "{ROOT}/.amazonq/mcp.json", AMAZON_Q, "project"),
            Place(ALL, "{ROOT}/.amazonq/cli-agents/*.json", AMAZON_Q, "project"),
            Place(ALL, "{ROOT}/.amazonq/agents/*.json", AMAZON_Q, "project"),
        ),
    ),
    Host(
        "kiro",
        "Kiro",
        (
            Place(ALL, "~/.kiro/settings/mcp.json", KIRO),
            Place(ALL, "~/.kiro/agents/*.json", KIRO),
            Place(ALL, "{ROOT}/.kiro/settings/mcp.json", KIRO, "project"),
            Place(ALL, "{ROOT}/.kiro/agents/*.json", KIRO, "project"),
        ),
    ),
    Host(
        "junie",
        "JetBrains Junie",
        (
            Place(ALL, "~/.junie/mcp/mcp.json", PLAIN),
            Place(ALL, "{ROOT}/.junie/mcp/mcp.json", PLAIN, "project"),
        ),
    ),
    Host(
        "jetbrains-ai", "JetBrains AI Assistant", snippet=True, note="paste it in Settings | Tools | AI Assistant | MCP"
    ),
    Host("jetbrains-air", "JetBrains Air", (Place(ALL, "{ROOT}/.air/mcp.json", PLAIN, "project"),)),
    Host(
        "warp",
        "Warp",
        (
            Place(ALL, "~/.warp/.mcp.json", PLAIN),
            Place(ALL, "{ROOT}/.warp/.mcp.json", PLAIN, "project"),
        ),
    ),
    Host(
        "trae",
        "Trae",
        (
            Place(ALL, "{APP}/Trae*/User/mcp.json", PLAIN),
            Place(ALL, "{ROOT}/.trae/mcp.json", PLAIN, "project"),
        ),
    ),
    Host(
        "crush",
        "Crush",
        (
            Place(UNIX, "{CONFIG}/crush/crush.json", CRUSH),
            Place(WINDOWS, "{LOCALAPPDATA}/crush/crush.json", CRUSH),
            Place(ALL, "{ROOT}/crush.json", CRUSH, "project"),
            Place(ALL, "{ROOT}/.crush.json", CRUSH, "project"),
        ),
        note="servers that a crushrc script adds are not seen: put mcpbox in front of those by hand",
    ),
    Host(
        "amp",
        "Amp",
        (
            Place(ALL, "{CONFIG}/amp/settings.json", AMP),
            Place(ALL, "{CONFIG}/amp/settings.jsonc", AMP),
            Place(WINDOWS, "{APP}/amp/settings.json", AMP),
            Place(ALL, "{APP}/*/User/settings.json", AMP),
            Place(ALL, "{ROOT}/.amp/settings.json", AMP, "project"),
            Place(ALL, "{ROOT}/.amp/settings.jsonc", AMP, "project"),
        ),
        note="rules in amp.mcpPermissions match the command: they have to name mcpbox",
    ),
    Host("boltai", "BoltAI", (Place(MACOS, "~/.boltai/mcp.json", PLAIN),)),
    Host(
        "antigravity",
        "Antigravity",
        (
            Place(ALL, "~/.gemini/antigravity/mcp_config.json", PLAIN),
            Place(ALL, "~/.gemini/config/mcp_config.json", PLAIN),
        ),
    ),
    Host(
        "factory-droid",
        "Factory droid",
        (
            Place(ALL, "~/.factory/mcp.json", PLAIN),
            Place(ALL, "{ROOT}/.factory/mcp.json", PLAIN, "project"),
        ),
    ),
    Host(
        "qoder",
        "Qoder",
        (
            Place(UNIX, "~/.qoder/mcp.json", PLAIN),
            Place(WINDOWS, "{APP}/Qoder/SharedClientCache/mcp.json", PLAIN),
        ),
    ),
    Host("kimi-cli", "Kimi CLI", (Place(ALL, "~/.kimi/mcp.json", PLAIN),)),
    Host(
        "mistral-vibe",
        "Mistral Vibe",
        (
            Place(ALL, "~/.vibe/config.toml", VIBE),
            Place(ALL, "{ROOT}/.vibe/config.toml", VIBE, "project"),
        ),
    ),
    Host(
        "sema4",
        "Sema4.ai Studio",
        (
            Place(UNIX, "~/.sema4ai/sema4ai-studio/mcp_servers.json", PLAIN),
            Place(WINDOWS, "{LOCALAPPDATA}/sema4ai/sema4ai-studio/mcp_servers.json", PLAIN),
        ),
    ),
    Host(
        "mcporter",
        "mcporter",
        (
            Place(ALL, "~/.mcporter/mcporter.json", GEMINI),
            Place(ALL, "~/.mcporter/mcporter.jsonc", GEMINI),
            Place(ALL, "{ROOT}/config/mcporter.json", GEMINI, "project"),
        ),
    ),
    Host(
        "openclaw",
        "OpenClaw",
        (
            Place(ALL, "{OPENCLAW_CONFIG_PATH}", OPENCLAW),
            Place(ALL, "~/.openclaw/openclaw.json", OPENCLAW),
        ),
        note="run: openclaw mcp reload",
    ),
    Host("hermes", "Hermes Agent", (Place(ALL, "{HERMES_HOME}/config.yaml", HERMES),)),
    Host(
        "librechat",
        "LibreChat",
        (Place(ALL, "{ROOT}/librechat.yaml", LIBRECHAT, "project"),),
        note="mcpbox has to be installed where LibreChat runs, inside its container if it has one",
    ),
    Host("witsy", "Witsy", (Place(ALL, "{APP}/Witsy/settings.json", PLAIN),)),
    Host("enconvo", "Enconvo", (Place(MACOS, "{CONFIG}/enconvo/mcp_config.json", PLAIN),)),
    Host("tome", "Tome", (Place(("macos", "windows"), "~/.tome/mcp_config.json", PLAIN),)),
    Host("bedrock-client", "Amazon Bedrock Client", (Place(ALL, "~/Amazon Bedrock Client/mcp_config.json", PLAIN),)),
)

#: Whoever reads a file that the user named and no host is known to.
OTHER = Host("other", "Other")


def by_id(id: str) -> Host:
    """The host of that id. Raises UsageError, naming those that are written alike."""
    for host in (*HOSTS, OTHER):
        if host.id == id:
            return host
    import difflib

    ids = [host.id for host in HOSTS]
    near = [known for known in ids if id and id in known] or difflib.get_close_matches(id.lower(), ids, n=2, cutoff=0.7)
    raise UsageError(
        f"there is no host {id!r}", f"did you mean {' or '.join(near)}?" if near else f"it is one of {', '.join(ids)}"
    )
