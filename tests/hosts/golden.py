"""What the files in ``data`` hold: one file as each host writes it, where it lies, and the servers in it.

Of a server: its command line, and the variables that its host sets for it; "" for one with nothing to start.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from mcpbox.hosts import by_id
from mcpbox.hosts.model import Host, Place

DATA = Path(__file__).parent / "data"
NPX = "npx -y @modelcontextprotocol/server-"

#: File → the path of its host's place, and name of a server → (command line, variables).
FILES: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "claude-desktop.before.json": (
        "{APP}/Claude/claude_desktop_config.json",
        {
            "filesystem": (f"{NPX}filesystem /Users/anna/Desktop '/Users/anna/My Documents'", ""),
            "github": ("/opt/homebrew/bin/" + NPX + "github", "GITHUB_PERSONAL_ACCESS_TOKEN"),
            "sqlite": ("uvx mcp-server-sqlite --db-path /Users/anna/test.db", ""),
            "weather": ("uv --directory /Users/anna/src/weather run weather.py", ""),
            "linear": ("npx -y mcp-remote https://mcp.linear.app/sse", ""),
            "time": ("docker run -i --rm mcp/time", ""),
        },
    ),
    "claude-desktop+msix.before.json": (
        "{LOCALAPPDATA}/Packages/Claude_*/LocalCache/Roaming/Claude/claude_desktop_config.json",
        {
            "filesystem": (
                r"'C:\Program Files\nodejs\npx.cmd' -y @modelcontextprotocol/server-filesystem "
                r"'C:\Users\Anna\Documents'",
                "",
            ),
            "excel": ("cmd /c npx --yes @negokaz/excel-mcp-server", "EXCEL_MCP_PAGING_CELLS_LIMIT"),
        },
    ),
    "claude-code.before.json": (
        "{CLAUDE_CONFIG_DIR}/.claude.json",
        {
            "context7": ("npx -y @upstash/context7-mcp --api-key '${CONTEXT7_API_KEY:-none}'", ""),
            "sentry": ("", ""),
            "ide": ("", ""),
            "brave": ("npx -y @brave/brave-search-mcp-server", "BRAVE_API_KEY"),
            "postgres": (f"{NPX}postgres postgresql://shop:example-password@localhost:5432/shop", ""),
        },
    ),
    "claude-code+project.before.json": (
        "{ROOT}/.mcp.json",
        {
            "shop-db": ("uvx mcp-server-sqlite --db-path '${CLAUDE_PROJECT_DIR}/dev.db'", ""),
            "docs": ("", ""),
        },
    ),
    "claude-code+plugin.before.json": (
        "{CLAUDE_PLUGINS}/cache/*/*/*/.mcp.json",
        {
            "database-tools": (
                "'${CLAUDE_PLUGIN_ROOT}/servers/db-server' --config '${CLAUDE_PLUGIN_ROOT}/config.json'",
                "DB_PATH",
            )
        },
    ),
    "cursor.before.jsonc": (
        "~/.cursor/mcp.json",
        {
            "Figma": ("npx -y figma-developer-mcp --figma-api-key=example-figma-key --stdio", ""),
            "shadcn": ("'npx shadcn@latest mcp'", ""),
            "jira": ("uvx mcp-atlassian", "JIRA_URL JIRA_API_TOKEN"),
            "notion": ("", ""),
        },
    ),
    "vscode.before.jsonc": (
        "{APP}/Code/User/mcp.json",
        {
            "Perplexity": ("npx -y @perplexity-ai/mcp-server", "PERPLEXITY_API_KEY PERPLEXITY_TIMEOUT_MS"),
            "github": ("", ""),
            "fetch": ("uvx mcp-server-fetch", ""),
            "playwright": ("npx @playwright/mcp@latest --port 8931", ""),
        },
    ),
    "vscode+settings.before.jsonc": (
        "{APP}/Code/User/settings.json",
        {"time": ("python -m mcp_server_time --local-timezone=Europe/London", "")},
    ),
    "vscode+workspace.before.jsonc": (
        "{ROOT}/*.code-workspace",
        {"api": ("node '${workspaceFolder:api}/mcp.js'", "")},
    ),
    "vscode-insiders.before.jsonc": (
        "{APP}/Code - Insiders/User/mcp.json",
        {"my-server": ("~/bin/my-server", "")},
    ),
    "vscodium.before.jsonc": (
        "{APP}/VSCodium/User/mcp.json",
        {"git": ("uvx mcp-server-git --repository '${workspaceFolder}'", "")},
    ),
    "vscode-server.before.jsonc": (
        "~/.vscode-server*/data/User/mcp.json",
        {"memory": (f"{NPX}memory", "MEMORY_FILE_PATH")},
    ),
    "copilot-cli.before.json": (
        "{COPILOT_HOME}/mcp-config.json",
        {"playwright": ("npx @playwright/mcp@latest", "PLAYWRIGHT_BROWSERS_PATH"), "github-remote": ("", "")},
    ),
    "copilot-jetbrains.before.jsonc": (
        "{CONFIG}/github-copilot/intellij/mcp.json",
        {"sequential-thinking": (f"{NPX}sequential-thinking", "")},
    ),
    "visual-studio.before.jsonc": (
        "~/.mcp.json",
        {
            "nuget": ("dnx NuGet.Mcp.Server --source https://api.nuget.org/v3/index.json --yes", ""),
            "github": ("", ""),
            "azure": ("npx -y @azure/mcp@latest server start", "AZURE_TENANT_ID"),
        },
    ),
    "windsurf.before.json": (
        "~/.codeium/windsurf*/mcp_config.json",
        {
            "github": (f"{NPX}github", "GITHUB_PERSONAL_ACCESS_TOKEN"),
            "figma": ("", ""),
            "stripe": ("npx -y @stripe/mcp --tools=all --api-key=example-stripe-key", ""),
        },
    ),
    "windsurf-jetbrains.before.json": ("~/.codeium/mcp_config.json", {"fetch": ("uvx mcp-server-fetch", "")}),
    "cline.before.json": (
        "{APP}/*/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        {
            "github.com/modelcontextprotocol/servers/tree/main/src/puppeteer": (
                f"{NPX}puppeteer",
                "PUPPETEER_LAUNCH_OPTIONS",
            ),
            "legacy": ("node", ""),
            "remote": ("", ""),
        },
    ),
    "cline-cli.before.json": (
        "{CLINE_DIR}/data/settings/cline_mcp_settings.json",
        {"time": ("uvx mcp-server-time", "")},
    ),
    "roo-code.before.json": (
        "{APP}/*/User/globalStorage/rooveterinaryinc.roo-cline/settings/*mcp_settings.json",
        {
            "everything": (f"{NPX}everything", ""),
            "brave-search": (f"{NPX}brave-search", "BRAVE_API_KEY"),
            "kb": ("", ""),
        },
    ),
    "kilo-code.before.jsonc": (
        "{CONFIG}/kilo/kilo.jsonc",
        {"chrome-devtools": ("npx -y chrome-devtools-mcp@latest", "CI"), "docs": ("", "")},
    ),
    "kilo-code-legacy.before.json": (
        "{ROOT}/.kilocode/mcp.json",
        {"filesystem": (f"{NPX}filesystem /home/anna/work", "")},
    ),
    "zed.before.jsonc": (
        "{CONFIG}/zed/settings.json",
        {
            "mcp-server-context7": ("", ""),
            "hexdocs-mcp": ("npx -y hexdocs-mcp@0.5.0", ""),
            "postgres": ("/usr/local/bin/postgres-context-server --read-only", "DATABASE_URL"),
            "remote": ("", ""),
        },
    ),
    "continue.before.yaml": (
        "~/.continue/config.yaml",
        {
            "0": ("", ""),
            "My MCP Server": ("uvx mcp-server-sqlite --db-path ./test.db", "SQLITE_LOG"),
            "Browser use": ("npx -y @playwright/mcp@latest --port 8931", "API_KEY"),
            "Remote": ("", ""),
        },
    ),
    "continue+block.before.yaml": (
        "{ROOT}/.continue/mcpServers/*.yaml",
        {"Browser search": ("npx @playwright/mcp@latest", "")},
    ),
    "continue+shared.before.json": (
        "{ROOT}/.continue/mcpServers/*.json",
        {"fetch": ("uvx mcp-server-fetch", "PROXY")},
    ),
    "goose.before.yaml": (
        "{CONFIG}/goose/config.yaml",
        {
            "developer": ("", ""),
            "github": (f"{NPX}github", "GITHUB_PERSONAL_ACCESS_TOKEN"),
            "sqlite": ("uvx mcp-server-sqlite --db-path '/home/anna/my data.db'", "SQLITE_LOG"),
            "remote": ("", ""),
            "script": ("", ""),
        },
    ),
    "gemini-cli.before.jsonc": (
        "~/.gemini/settings.json",
        {"github": ("", ""), "python-tools": ("python -m my_mcp_server --port 8080", "DATABASE_URL API_KEY")},
    ),
    "qwen-code.before.jsonc": ("~/.qwen/settings.json", {"tavily": ("npx -y tavily-mcp@latest", "TAVILY_API_KEY")}),
    "codex.before.toml": (
        "{CODEX_HOME}/config.toml",
        {
            "context7": ("npx -y @upstash/context7-mcp", ""),
            "github": (
                "docker run -i --rm -e GITHUB_PERSONAL_ACCESS_TOKEN ghcr.io/github/github-mcp-server",
                "GITHUB_PERSONAL_ACCESS_TOKEN LANG GITHUB_HOST",
            ),
            "my.files": (r"'C:\Tools\node.exe' 'C:\mcp\files.js' --port 8080", "LOG ODD-NAME"),
            "figma": ("", ""),
        },
    ),
    "codex+plugin.before.json": (
        "{CODEX_HOME}/plugins/cache/*/*/*/.mcp.json",
        {"notes": ("./bin/notes-mcp serve", "")},
    ),
    "opencode.before.jsonc": (
        "{OPENCODE_CONFIG_DIR}/opencode.jsonc",
        {
            "my-local-mcp-server": ("bun x my-mcp-command --flag", "MY_ENV_VAR TOKEN KEY"),
            "everything": (f"{NPX}everything", ""),
            "sentry": ("", ""),
            "inherited": ("", ""),
        },
    ),
    "opencode+agents.before.json": (
        "~/.agents/mcp.json",
        {"time": ("uvx mcp-server-time", ""), "search": ("", "")},
    ),
    "lm-studio.before.json": (
        "~/.lmstudio/mcp.json",
        {"hf-mcp-server": ("", ""), "wikipedia": ("uvx wikipedia-mcp", "")},
    ),
    "amazon-q.before.json": (
        "~/.aws/amazonq/mcp.json",
        {
            "awslabs.aws-documentation-mcp-server": (
                "uvx awslabs.aws-documentation-mcp-server@latest",
                "FASTMCP_LOG_LEVEL AWS_PROFILE",
            )
        },
    ),
    "amazon-q+agent.before.json": ("~/.aws/amazonq/cli-agents/*.json", {"git": ("mcp-server-git -r .", "")}),
    "kiro.before.json": (
        "~/.kiro/settings/mcp.json",
        {
            "fetch": ("uvx mcp-server-fetch", "API_KEY"),
            "remote": ("", ""),
            "power-supabase": ("npx -y @supabase/mcp-server-supabase", ""),
        },
    ),
    "junie.before.json": (
        "~/.junie/mcp/mcp.json",
        {"Excel": ("npx --yes @negokaz/excel-mcp-server", "EXCEL_MCP_PAGING_CELLS_LIMIT")},
    ),
    "jetbrains-air.before.json": ("{ROOT}/.air/mcp.json", {"db": ("toolbox --stdio --tools-file tools.yaml", "")}),
    "warp.before.json": ("~/.warp/.mcp.json", {"puppeteer": (f"{NPX}puppeteer", "")}),
    "trae.before.json": (
        "{APP}/Trae*/User/mcp.json",
        {"Puppeteer": (f"{NPX}puppeteer", ""), "地图": ("npx -y @amap/amap-maps-mcp-server", "AMAP_MAPS_API_KEY")},
    ),
    "crush.before.json": (
        "{CONFIG}/crush/crush.json",
        {"filesystem": ("node /path/to/mcp-server.js", "NODE_ENV TOKEN"), "github": ("", "")},
    ),
    "amp.before.jsonc": (
        "{CONFIG}/amp/settings.json",
        {
            "semgrep": ("semgrep mcp", ""),
            "linear": ("", ""),
            "playwright": ("npx -y @playwright/mcp@latest --headless --isolated", "DEBUG"),
        },
    ),
    "boltai.before.json": ("~/.boltai/mcp.json", {"memory": (f"{NPX}memory", "")}),
    "antigravity.before.json": (
        "~/.gemini/antigravity/mcp_config.json",
        {"bigquery": ("", ""), "dart": ("dart mcp-server", "")},
    ),
    "factory-droid.before.json": (
        "~/.factory/mcp.json",
        {"playwright": ("npx -y @playwright/mcp@latest", ""), "linear": ("", "")},
    ),
    "qoder.before.json": ("~/.qoder/mcp.json", {"uv-tool": ("uv --directory D:/work/tool run main.py", "")}),
    "kimi-cli.before.json": (
        "~/.kimi/mcp.json",
        {"chrome-devtools": ("npx -y chrome-devtools-mcp@latest", "SOME_ENV"), "context7": ("", "")},
    ),
    "mistral-vibe.before.toml": (
        "~/.vibe/config.toml",
        {
            "my_http_server": ("", ""),
            "fetch_server": ("uvx mcp-server-fetch --user-agent vibe/1", "DEBUG LOG_LEVEL"),
            "single": (f"{NPX}time", ""),
        },
    ),
    "sema4.before.json": (
        "~/.sema4ai/sema4ai-studio/mcp_servers.json",
        {"duckdb": ("uvx mcp-server-motherduck --db-path :memory:", "motherduck_token")},
    ),
    "mcporter.before.jsonc": (
        "~/.mcporter/mcporter.jsonc",
        {"chrome-devtools": ("npx -y chrome-devtools-mcp@latest", "TOKEN"), "linear": ("", "")},
    ),
    "openclaw.before.json5": (
        "~/.openclaw/openclaw.json",
        {
            "docs": (f'{NPX}fetch "it\'s"', "API_KEY ODD-NAME"),
            "remote-docs": ("", ""),
            "$local": ("/opt/tools/run", ""),
        },
    ),
    "hermes.before.yaml": (
        "{HERMES_HOME}/config.yaml",
        {
            "filesystem": (f"{NPX}filesystem /home/anna/projects", ""),
            "github": (f"{NPX}github", "GITHUB_PERSONAL_ACCESS_TOKEN RETRIES"),
            "remote_api": ("", ""),
        },
    ),
    "librechat.before.yaml": (
        "{ROOT}/librechat.yaml",
        {
            "everything": ("", ""),
            "puppeteer": (f"{NPX}puppeteer", ""),
            "mcp-obsidian": ("npx -y mcp-obsidian '/path/to/obsidian vault'", "OBSIDIAN_API_KEY"),
        },
    ),
    "witsy.before.json": ("{APP}/Witsy/settings.json", {"time": ("uvx mcp-server-time", "")}),
    "enconvo.before.json": ("{CONFIG}/enconvo/mcp_config.json", {"apple-notes": ("uvx apple-notes-mcp", "")}),
    "tome.before.json": ("~/.tome/mcp_config.json", {"fetch": ("uvx mcp-server-fetch", "")}),
    "bedrock-client.before.json": (
        "~/Amazon Bedrock Client/mcp_config.json",
        {"aws-docs": ("uvx awslabs.aws-documentation-mcp-server@latest", "AWS_REGION")},
    ),
}


def text(file: str) -> str:
    """The file as it is, line ends and byte order mark too."""
    return (DATA / file).read_bytes().decode()


def host_of(file: str) -> Host:
    return by_id(file.partition(".before.")[0].partition("+")[0])


def place_of(file: str) -> Place:
    (place,) = (place for place in host_of(file).places if place.path == FILES[file][0])
    return place


def servers_of(file: str) -> dict[str, tuple[list[str], list[str]]]:
    """Name → words of the command line, variables."""
    return {name: (shlex.split(line), variables.split()) for name, (line, variables) in FILES[file][1].items()}
