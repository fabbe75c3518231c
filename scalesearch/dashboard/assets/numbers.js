// Numbers in words, as theme.py has them, and the ticks of a scale.

// Like Python a number halfway between two is rounded to the even one; only such a fraction is exactly halfway.
function fixed(value, decimals) {
  const text = value.toFixed(decimals);
  const halfway = Number.isInteger(value * 2 ** (decimals + 1)) && !Number.isInteger(value * 2 ** decimals);
  if (!halfway || Number(text.at(-1)) % 2 === 0) return text;
  return (value - Math.sign(value) * 0.1 ** (decimals + 1)).toFixed(decimals);
}

function threeDigits(value) {
  const power = Number(value.toExponential().split("e")[1]) - 2;
  if (power < -20) return Number(value.toPrecision(3)); // no such fraction is halfway
  if (power <= 0) return Number(fixed(value, -power));
  const below = Math.floor(value / 10 ** power);
  const halfway = value % 10 ** power === 10 ** power / 2;
  return halfway && below % 2 === 0 ? below * 10 ** power : Number(value.toPrecision(3));
}

function withPrefix(value, mostDecimals) {
  const number = threeDigits(value);
  if (number < 1000) return `${fixed(number, 0)} `;
  const step = Math.min(Math.floor(Math.floor(Math.log10(number) + 1e-9) / 3), 5);
  const scaled = number / 1000 ** step;
  const decimals = Math.max(0, Math.min(mostDecimals, 2 - Math.floor(Math.log10(scaled) + 1e-9)));
  return `${fixed(scaled, decimals)} ${" kMGTP"[step]}`;
}

const flopsText = (flops) => `${withPrefix(flops, 2)}FLOPs`;
const countText = (count) => withPrefix(count, 1).trimEnd();
const exactText = (count) => count.toLocaleString("en");
const percentText = (share) => `${fixed(100 * share, 1)} %`;

const millisecondsText = (seconds) => `${Number((1e3 * seconds).toPrecision(3))} ms`;

function secondsText(seconds) {
  const whole = Number(fixed(seconds, 0));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

// A side for a square, all sides otherwise; null where it is not known.
const sidesText = (size) => (size === null ? "?" : Array.isArray(size) ? size.join("×") : String(size));
const resolutionText = (size) => (Array.isArray(size) ? sidesText(size) : `${size} px`);

function niceTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) {
    ticks.push(Math.abs(at) < step * 1e-9 ? 0 : Number(at.toPrecision(12)));
  }
  return ticks;
}
