// A network's document as YAML, as `scalesearch` itself writes it (documents/files.py). An entry brings the text
// along where a value would have to be quoted.

const YAML_WIDTH = 110; // columns: a row that is wider goes on in the next line

const yamlValue = (value) => (value === null ? "null" : String(value));

function flowYaml(lead, mapping) {
  const lines = [`${lead}{`];
  Object.entries(mapping).forEach(([key, value], index) => {
    if (index) {
      const line = lines.at(-1);
      lines[lines.length - 1] = `${line},`;
      if (line.length + 1 > YAML_WIDTH) lines.push(" ");
      lines[lines.length - 1] += " ";
    }
    lines[lines.length - 1] += `${key}: ${yamlValue(value)}`;
  });
  return `${lines.join("\n")}}`;
}

const withoutSize = ({ size: _, ...part }) => part;

function networkYaml(entry) {
  if (entry.yaml !== null) return entry.yaml;
  const own = Object.entries(entry.document).map(([key, value]) =>
    value !== null && typeof value === "object" ? flowYaml(`${key}: `, value) : `${key}: ${yamlValue(value)}`,
  );
  const stages = entry.stages.map((stage) => flowYaml("- ", withoutSize(stage)));
  const stem = flowYaml("stem: ", withoutSize(entry.stem));
  return `${[...own, stem, "stages:", ...stages, flowYaml("head: ", entry.head)].join("\n")}\n`;
}
