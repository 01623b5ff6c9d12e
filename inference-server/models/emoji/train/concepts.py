"""Which emoji the UNet learns, and what people call them."""

# label in emojibase -> the words that people use, the plainest first. Captions use all of them.
CONCEPTS = {}


def _add(group):
    for line in group.strip().splitlines():
        label, _, names = line.partition("=")
        names = [name.strip() for name in names.split(",") if name.strip()]
        CONCEPTS[label.strip()] = names or [label.strip()]


_add("""
red apple = red apple, apple
green apple
pear
tangerine = orange fruit, tangerine
lemon
banana
watermelon
grapes
strawberry
cherries = cherries, cherry
peach
pineapple
coconut
avocado
eggplant
carrot
ear of corn = corn, ear of corn
hot pepper = hot pepper, chili pepper
tomato
broccoli
mushroom
bread
croissant
cheese wedge = cheese, cheese wedge
hamburger = hamburger, burger
french fries
pizza
hot dog
egg
popcorn
ice cream
doughnut = doughnut, donut
cookie
birthday cake
cupcake
lollipop
hot beverage = cup of coffee, coffee, hot beverage
""")
_add("""
cat face
dog face
mouse face
rabbit face
fox = fox, fox face
bear = bear, bear face
panda = panda, panda face
koala
tiger face
lion = lion, lion face
cow face
pig face
frog = frog, frog face
monkey face
chicken
penguin
bird
baby chick = baby chick, chick
duck
owl
wolf = wolf, wolf face
horse face
unicorn = unicorn, unicorn face
honeybee = bee, honeybee
butterfly
snail
lady beetle = ladybug, lady beetle
turtle
snake
octopus
crab
tropical fish
blowfish
dolphin
spouting whale = whale, spouting whale
shark
crocodile
elephant
giraffe
ewe = sheep, ewe
T-Rex
hedgehog
""")
_add("""
red heart
orange heart
yellow heart
green heart
blue heart
purple heart
black heart
white heart
broken heart
red circle
green circle
blue circle
yellow circle
star = star, yellow star
sun = sun
sun with face
full moon
crescent moon
cloud
rainbow
snowflake
fire = fire, flame
droplet = droplet, water drop
high voltage = lightning bolt, lightning, high voltage
snowman without snow = snowman
umbrella
""")
_add("""
sunflower
tulip
rose
hibiscus
cherry blossom
cactus
palm tree
evergreen tree
deciduous tree = tree, deciduous tree
four leaf clover
maple leaf
""")
_add("""
grinning face
smiling face with sunglasses = smiling face with sunglasses, cool face
smiling face with heart-eyes = smiling face with heart-eyes, heart eyes
loudly crying face = crying face, loudly crying face
enraged face = angry face, red angry face
sleeping face
skull
ghost
alien
alien monster = space invader, alien monster
robot
clown face
pile of poo
jack-o-lantern
eyes
thumbs up
""")
_add("""
rocket
airplane
automobile = car, red car, automobile
bus
police car
fire engine = fire truck, fire engine
bicycle
sailboat
ship
flying saucer = ufo, flying saucer
helicopter
locomotive = steam train, locomotive
tractor
house
castle
tent
volcano
""")
_add("""
key
light bulb
guitar
trumpet
drum
violin
soccer ball = soccer ball, football
basketball
tennis
trophy
crown
gem stone = gem, diamond, gem stone
hammer
scissors
television
camera
laptop = laptop, laptop computer
alarm clock
hourglass done = hourglass
balloon = red balloon, balloon
wrapped gift = gift, present, wrapped gift
christmas tree
teddy bear
bell
candle
magnet
telescope
locked = padlock, lock
envelope
closed book = book, red book, closed book
graduation cap
top hat
glasses
t-shirt = t-shirt, shirt
running shoe = running shoe, sneaker
backpack
pencil
bomb
crystal ball
anchor
game die = dice, game die
""")


def chosen(labels):
    """Indices of the concepts among all labels, in the order of CONCEPTS; names that are not there are left out."""
    index = {label: i for i, label in reversed(list(enumerate(labels)))}
    return [index[label.lower()] for label in CONCEPTS if label.lower() in index]


def names(label):
    lowered = {key.lower(): value for key, value in CONCEPTS.items()}
    return [name.lower() for name in lowered[label]]
