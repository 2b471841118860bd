//! The page and the logo: a miner's safety lamp, whose gauze keeps the flame from the gas around it.

use crate::Version;

struct Palette {
    paper: &'static str,
    ink: &'static str,
    metal: &'static str,
    gauze: &'static str,
    glow: &'static str,
    flame: &'static str,
    heart: &'static str,
    says: &'static str,
}

const fn palette(version: Version) -> Palette {
    match version {
        Version::V1 => Palette {
            paper: "#ffffff",
            ink: "#000000",
            metal: "#ffffff",
            gauze: "#000000",
            glow: "#ffffff",
            flame: "#000000",
            heart: "#ffffff",
            says: "the lamp in black and white",
        },
        Version::V2 => Palette {
            paper: "#10202b",
            ink: "#f4e9d8",
            metal: "#c8963e",
            gauze: "#8fa3ad",
            glow: "#3d3420",
            flame: "#ff8c1a",
            heart: "#ffe680",
            says: "the lamp in colour",
        },
        Version::V3 => Palette {
            paper: "#1d1030",
            ink: "#f0e6ff",
            metal: "#b06ab3",
            gauze: "#9a86b8",
            glow: "#3a1f4d",
            flame: "#ff5470",
            heart: "#ffd6dd",
            says: "the lamp in other colours, and some requests fail",
        },
    }
}

pub(crate) fn logo(version: Version) -> String {
    let Palette { ink, metal, gauze, glow, flame, heart, .. } = palette(version);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 280" role="img" aria-label="A miner's safety lamp">
<defs><pattern id="gauze" width="6" height="6" patternUnits="userSpaceOnUse"><path d="M0 0L6 6M6 0L0 6" stroke="{gauze}" stroke-width=".9"/></pattern></defs>
<g stroke="{ink}" stroke-width="4" stroke-linejoin="round" stroke-linecap="round">
<circle cx="80" cy="24" r="16" fill="none"/>
<path d="M56 62L64 42H96L104 62Z" fill="{metal}"/>
<rect x="44" y="62" width="72" height="12" rx="4" fill="{metal}"/>
<rect x="54" y="74" width="52" height="74" fill="url(#gauze)"/>
<path d="M50 74V224M110 74V224" fill="none"/>
<rect x="46" y="148" width="68" height="10" rx="3" fill="{metal}"/>
<path d="M56 158H104L108 212H52Z" fill="{glow}"/>
<path d="M80 166C92 182 94 190 90 199C87 206 73 206 70 199C66 190 70 186 80 166Z" fill="{flame}" stroke="none"/>
<path d="M80 183C85 191 86 195 84 199C82 203 78 203 76 199C74 195 76 192 80 183Z" fill="{heart}" stroke="none"/>
<path d="M74 212V205H86V212" fill="{metal}"/>
<rect x="40" y="212" width="80" height="16" rx="4" fill="{metal}"/>
<path d="M46 228H114L120 264H40Z" fill="{metal}"/>
</g>
</svg>
"##
    )
}

pub(crate) fn html(version: Version) -> String {
    let Palette { paper, ink, says, .. } = palette(version);
    let logo = logo(version);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Logo {version}</title>
<style>
body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; justify-items: center; gap: 1rem;
  background: {paper}; color: {ink}; font: 1.1rem/1.5 system-ui, sans-serif; text-align: center }}
svg {{ height: min(60vh, 24rem) }}
h1 {{ margin: 0; font-size: 2rem }}
p {{ margin: 0 }}
</style>
</head>
<body>
{logo}<h1>Logo {version}</h1>
<p>{says}</p>
</body>
</html>
"#
    )
}
